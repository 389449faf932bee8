"""Borders of label maps.

A border voxel has at least one of its six face neighbours outside its own class; everything outside
the volume is background, so a voxel at the volume's edge is border (MONAI's and medpy's surface).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]

MARGIN = 8
"""Empty voxels after each row and each plane of a grid: as far as offsets reach along an axis."""

SLAB = 2**18
"""Voxels whose neighbours are compared at once, so that they stay in cache."""


@dataclass(frozen=True, eq=False)
class Border:
    """The border of one class in one volume."""

    indices: Indices
    """``(N,)`` flat C-order indices into the grid, ascending."""
    grid: tuple[int, int, int]
    """The volume's shape with ``MARGIN`` more along its second and third axis, which are empty."""

    @cached_property
    def points(self) -> Indices:
        """Return ``(N, 3)`` the same voxels as array coordinates."""
        return np.array(np.unravel_index(self.indices, self.grid)).T

    @cached_property
    def box(self) -> tuple[Indices, Indices]:
        """Return the least coordinates ``(3,)``, and one more than the largest."""
        return self.points.min(axis=0), self.points.max(axis=0) + 1


def find_borders(labels: NDArray[np.unsignedinteger], count: int) -> list[Border]:
    """Find the 6-neighbour border of every class at once.

    Label maps are exclusive, so one comparison of each voxel with its neighbours serves all
    classes: the cost does not grow with their number, nor with stray voxels far away.

    Args:
        labels: ``(X, Y, Z)``, 0 is background.
        count: classes are 1..count.

    Returns:
        One border per class, in order.
    """
    depth, height, width = labels.shape
    grid = depth, height + MARGIN, width + MARGIN
    plane = grid[1] * grid[2]
    places, classes = [], []
    for start, flat in slabs(labels, grid):
        own = flat[plane:-plane]
        edge = np.zeros(len(own), bool)
        for step in (-plane, plane, -grid[2], grid[2], -1, 1):
            edge |= own != flat[plane + step :][: len(own)]
        edge &= own != 0
        found = np.flatnonzero(edge)
        places.append(start + found)
        classes.append(own[found])
    indices, owners = np.concatenate(places), np.concatenate(classes)
    order = np.argsort(owners, kind="stable")
    ends = np.searchsorted(owners[order], np.arange(1, count + 2))
    by_owner = indices[order]
    return [
        Border(by_owner[start:stop], grid) for start, stop in zip(ends[:-1], ends[1:], strict=True)
    ]


def slabs(
    volume: NDArray[Any], grid: tuple[int, int, int], lead: int = 0
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield a volume on its grid, so few planes at a time that they stay in cache.

    Args:
        volume: ``(X, Y, Z)``.
        grid: shape of the grid; what the volume does not cover is zero.
        lead: empty rows of the grid before the volume's first, and columns alike.

    Yields:
        Flat index into the grid of the first plane, and the flat values of the plane before it, the
        planes and the plane after them; they last until the next.
    """
    depth, height, width = volume.shape
    plane = grid[1] * grid[2]
    thick = max(1, SLAB // plane)
    slab = np.zeros((thick + 2, *grid[1:]), volume.dtype)
    for first in range(0, grid[0], thick):
        count = min(thick, grid[0] - first) + 2
        covered = slab[:count, lead : lead + height, lead : lead + width]
        low, high = max(first - 1, 0), min(first - 1 + count, depth)
        start, stop = low - (first - 1), high - (first - 1)
        covered[:start] = covered[stop:] = 0
        covered[start:stop] = volume[low:high]
        yield first * plane, slab[:count].reshape(-1)


def common_box(first: Border, second: Border) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds both borders."""
    low = np.minimum(first.box[0], second.box[0])
    high = np.maximum(first.box[1], second.box[1])
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return x, y, z
