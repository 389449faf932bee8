"""The sampling grid of a phantom and smooth random fields on it.

All arithmetic is element-wise and in a fixed order, without BLAS, so that a seed gives the same
bytes at every number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl_bench.digest import seed_from

Field = NDArray[np.floating[Any]]
"""Values on a grid or a part of it; float32 throughout."""
Box = tuple[slice, slice, slice]

_SPLINE_STD = 0.69**3
"""Standard deviation of a cubic B-spline of unit normal weights (mean over positions)."""


def generator(*words: object) -> np.random.Generator:
    """Return the random generator keyed by these words."""
    return np.random.default_rng(seed_from(*words))


@dataclass(frozen=True)
class Grid:
    """A regular grid along R, A, S: ``origin`` is the world position (mm) of voxel (0, 0, 0)."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    @cached_property
    def axes(self) -> tuple[Field, Field, Field]:
        """World coordinates (mm) of the voxel centres along each axis."""
        x, y, z = (
            np.asarray(start + step * np.arange(count), np.float32)
            for start, step, count in zip(self.origin, self.spacing, self.shape, strict=True)
        )
        return x, y, z

    @property
    def affine(self) -> NDArray[np.float64]:
        """4x4, voxel index to RAS+ mm."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    @property
    def whole(self) -> Box:
        """The box of all voxels."""
        return slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2])


def smooth_field(rng: np.random.Generator, grid: Grid, scale: float) -> Field:
    """Draw a random field ``(X, Y, Z)`` of mean 0 and variance 1, smooth over ``scale`` mm.

    Normal weights on a lattice of ``scale`` mm are interpolated by cubic B-splines, one axis after
    the other.
    """
    places = [_spline(axis, scale) for axis in grid.axes]
    field: Field = rng.standard_normal([count for _, _, count in places], dtype=np.float32)
    for axis in (2, 1, 0):  # the last pass, on the largest array, moves whole planes
        first, weights, _ = places[axis]
        stretch = [1, 1, 1]
        stretch[axis] = -1
        field = sum(
            np.take(field, first + k, axis=axis) * weights[k].reshape(stretch) for k in range(4)
        )
    return field / np.float32(_SPLINE_STD)


def _spline(axis: Field, scale: float) -> tuple[NDArray[np.intp], Field, int]:
    """Return the first of four lattice points, their weights ``(4, n)``, and the lattice size."""
    place = (axis - axis[0]) / np.float32(scale)
    first = np.floor(place).astype(np.intp)
    t = (place - first).astype(np.float32)
    weights = np.stack(
        [
            (1 - t) * (1 - t) * (1 - t),
            3 * t * t * t - 6 * t * t + 4,
            -3 * t * t * t + 3 * t * t + 3 * t + 1,
            t * t * t,
        ]
    ) / np.float32(6)
    return first, weights, int(first[-1]) + 4
