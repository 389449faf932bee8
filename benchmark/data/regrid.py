"""Channels of one case on different grids: resampled onto the grid of one of them, on request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.volume import Header, Source, Volume
from medssl_bench.errors import DataError
from medssl_bench.task import Case, Preprocessing

ALIGNED = 0.1
"""Voxels that the corners of two grids may lie apart and still be one grid."""

LATTICE = 9
"""Places along each axis at which coverage is looked at."""


def ruling_source(case: Case, preprocessing: Preprocessing, channels: Sequence[str]) -> Source:
    """Return the image on whose grid a case is prepared and measured.

    Raises:
        DataError: ``preprocessing.grid`` names a channel that is not used.
    """
    name = preprocessing.grid or channels[0]
    if name not in channels or name not in case.images:
        raise DataError(
            f"{case.id}: no channel {name!r}, onto whose grid the others are to be resampled;"
            f" it has {', '.join(case.images)}"
        )
    return case.images[name]


def on_grid(volume: Volume, case: Case, channel: str, preprocessing: Preprocessing) -> Volume:
    """Return a channel's volume on the grid of its case; as it is where no grid is named.

    Raises:
        DataError: The volume lies nowhere on that grid, or the ruling channel cannot be read.
    """
    if preprocessing.grid in (None, channel):
        return volume
    ruling = ruling_source(case, preprocessing, [*case.images])
    try:
        return resample(volume, ruling.header())
    except DataError as error:
        raise DataError(f"{case.images[channel]}: {error} of {ruling}") from error


def resample(volume: Volume, grid: Header) -> Volume:
    """Resample onto a grid, linearly and by physical position; any affines, oblique or sheared.

    Outside the volume is its smallest value. A volume that has the grid keeps its voxels.

    Returns:
        float32 ``(X, Y, Z)`` of the grid.

    Raises:
        DataError: The volume lies nowhere on the grid.
    """
    if same_grid(volume.header, grid):
        return Volume(volume.array, grid.affine)
    if coverage(grid, volume.header) == 0:
        raise DataError("lies nowhere on the grid")
    import SimpleITK as sitk

    # Both images are given unit geometry, so that the transform alone says what lies where.
    there = np.linalg.inv(volume.affine) @ grid.affine
    stored = np.ascontiguousarray(volume.array.transpose(2, 1, 0), dtype=np.float32)
    way = sitk.AffineTransform(3)
    way.SetMatrix(there[:3, :3].ravel().tolist())
    way.SetTranslation(there[:3, 3].tolist())
    filter_ = sitk.ResampleImageFilter()
    filter_.SetSize([int(side) for side in grid.shape])
    filter_.SetTransform(way)
    filter_.SetInterpolator(sitk.sitkLinear)
    filter_.SetDefaultPixelValue(float(stored.min()))
    filter_.SetNumberOfWorkUnits(1)  # cases are prepared side by side, a process for each core
    moved = sitk.GetArrayFromImage(filter_.Execute(sitk.GetImageFromArray(stored)))
    return Volume(moved.transpose(2, 1, 0), grid.affine)


def same_grid(one: Header, other: Header) -> bool:
    """Tell whether two grids have one shape and lie within ``ALIGNED`` voxels of each other."""
    if one.shape != other.shape:
        return False
    return corner_distance(one, other) <= ALIGNED * min(other.spacing)


def corner_distance(one: Header, other: Header) -> float:
    """Return the largest distance in mm between where two affines put a grid's corners."""
    ends = [(0, side - 1) for side in one.shape]
    corners = np.array([(x, y, z, 1) for x in ends[0] for y in ends[1] for z in ends[2]])
    shift = corners @ (one.affine - other.affine).T
    return float(np.linalg.norm(shift[:, :3], axis=1).max())


def coverage(grid: Header, other: Header) -> float:
    """Return the share of a grid's extent that lies inside another volume, in [0, 1]."""
    index = _lattice(grid.shape) @ (np.linalg.inv(other.affine) @ grid.affine).T
    inside = (index[:, :3] >= -0.5) & (index[:, :3] <= np.array(other.shape) - 0.5)
    return float(inside.all(1).mean())


def _lattice(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return ``(LATTICE ** 3, 4)`` voxel positions, from edge to edge."""
    axes = [np.linspace(0, side - 1, LATTICE) for side in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), z.ravel(), np.ones(x.size)], axis=1)
