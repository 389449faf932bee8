"""Geometry of resampling: grids that cover the same physical box, edge to edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.volume import Header

Shape = tuple[int, int, int]


def working_shape(header: Header, spacing: tuple[float, float, float] | None) -> Shape:
    """Return the shape at ``spacing`` (mm) along the header's own axes, at least one voxel each."""
    if spacing is None:
        return header.shape
    sides = zip(header.shape, header.spacing, spacing, strict=True)
    x, y, z = (max(1, round(count * old / new)) for count, old, new in sides)
    return x, y, z


def edge_aligned_affine(affine: NDArray[np.float64], old: Shape, new: Shape) -> NDArray[np.float64]:
    """Return the affine of a grid of shape ``new`` over the box that ``old`` covers.

    New voxel k lies at old index (k + 0.5) * old / new - 0.5, which is how
    ``torch.nn.functional.interpolate`` samples with ``align_corners=False``.
    """
    step = np.asarray(old, dtype=np.float64) / np.asarray(new, dtype=np.float64)
    to_old = np.diag([*step, 1.0])
    to_old[:3, 3] = (step - 1.0) / 2.0
    return affine @ to_old


def nearest_indices(old: int, new: int) -> NDArray[np.int64]:
    """Return, for each of ``new`` voxels, the old one that holds its centre (exact integers)."""
    return ((2 * np.arange(new, dtype=np.int64) + 1) * old) // (2 * new)
