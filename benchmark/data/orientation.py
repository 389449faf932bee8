"""Axes in one order: reorientation to RAS by flips and permutations, never by interpolation."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from medssl_bench.data.volume import Header, Volume


def to_ras(volume: Volume) -> Volume:
    """Turn the array so that its axes run closest to right, anterior and superior.

    Works for any axis codes, oblique and sheared affines; voxel values are untouched, and every
    voxel keeps its place in space. The array returned may be a view.
    """
    axes = io_orientation(volume.affine)
    affine = volume.affine @ inv_ornt_aff(axes, volume.array.shape)
    return Volume(apply_orientation(volume.array, axes), affine)


def from_ras(array: NDArray[np.generic], affine: NDArray[np.float64]) -> NDArray[np.generic]:
    """Undo ``to_ras``: turn an array ``(X, Y, Z)`` in RAS to the storage order of ``affine``."""
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(affine))
    return apply_orientation(array, back)


def ras_header(header: Header) -> Header:
    """Return the geometry that ``to_ras`` would leave, without voxels."""
    axes = io_orientation(header.affine)
    x, y, z = (header.shape[int(np.flatnonzero(axes[:, 0] == to)[0])] for to in range(3))
    return Header((x, y, z), header.affine @ inv_ornt_aff(axes, header.shape))
