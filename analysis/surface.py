"""Borders of label maps and the distances between them, in millimetres.

A border voxel has at least one of its six face neighbours outside its own class; everything outside
the volume is background, so a voxel at the volume's edge is border (MONAI's and medpy's surface).

The nearest voxel of the other border is mostly a few voxels away. So the offsets around a voxel are
tried in order of their length, and the first that hits is the nearest; what lies beyond them is
left to a k-d tree or a distance transform, whichever is expected to be faster. All are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

Indices = NDArray[np.intp]
Distances = NDArray[np.float64]
Spacing = tuple[float, float, float]

MARGIN = 8
"""Empty voxels after each row and each plane of a grid: as far as offsets reach along an axis."""

SLAB = 2**18
"""Voxels whose neighbours are compared at once, so that they stay in cache."""

FIRST_OFFSETS = 64
"""Offsets tried for every voxel; after them twice as many at each go, as long as it pays."""

BLOCK, LOOK_UPS = 8192, 32768
"""Voxels, and voxels times offsets, that are looked up together, so that they stay in cache."""

EARLIER = np.arange(255, 0, -1, np.uint8)[:, None]
"""Weighs offsets that are looked up together, so that the first to hit is the largest."""

LOOK_UP_NS = 2.5
BUILD_NS, QUERY_NS = 150.0, 1100.0
TRANSFORM_NS, TRANSFORM_SINGLE_NS = 350.0, 45.0
"""Per voxel and offset; per target and per voxel of the tree; per voxel of the transform's box.

Measured on one core. They choose the way, not the result.
"""


class Border(NamedTuple):
    """The border of one class in one volume."""

    indices: Indices
    """``(N,)`` flat C-order indices into the grid, ascending."""
    grid: tuple[int, int, int]
    """The volume's shape with ``MARGIN`` more along its second and third axis, which are empty."""

    @property
    def points(self) -> NDArray[np.intp]:
        """Return ``(N, 3)`` the same voxels as array coordinates."""
        return np.array(np.unravel_index(self.indices, self.grid)).T


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


def directed_distances(
    first: Border, second: Border, spacing: Spacing, single: bool = False
) -> tuple[Distances, Distances]:
    """Measure from every border voxel of one surface to the nearest of the other, both ways.

    Args:
        first: a border with at least one voxel.
        second: a border of the same grid with at least one voxel.
        spacing: voxel size in mm along the three axes.
        single: let the transform work in single precision, several times faster; distances that it
            is used for are then off by up to 1e-6 of themselves.

    Returns:
        Distances in mm from ``first`` to ``second``, shape ``(N,)``, and back, shape ``(M,)``.
    """
    return _distances(first, second, spacing, single), _distances(second, first, spacing, single)


def _distances(queries: Border, targets: Border, spacing: Spacing, single: bool) -> Distances:
    distances = np.full(len(queries.indices), np.nan)
    far = scan(queries, targets, spacing, distances, single)
    if len(far):
        away = Border(queries.indices[far], queries.grid)
        dense = _transform_ns(away, targets, single) < _tree_ns(len(far), len(targets.indices))
        look_up = (transform_single if single else transform) if dense else tree
        distances[far] = look_up(away, targets, spacing)
    return distances


def scan(
    queries: Border, targets: Border, spacing: Spacing, distances: Distances, single: bool = False
) -> Indices:
    """Write the distances ``(N,)`` of the queries with a target near; return which have none.

    Offsets are tried in order of their length, as long as that is expected to be faster than the
    tree or the transform.
    """
    steps, lengths = near_offsets(tuple(spacing))
    _, rows, columns = queries.grid
    flat_steps = steps @ np.array([rows * columns, columns, 1])
    # Past a row's or a plane's end lies its empty margin; before its start, that of the one before.
    reach = int(flat_steps.max())
    ends = [one.indices[place] for one in (queries, targets) for place in (0, -1)]
    low = int(min(ends)) - reach
    there = np.zeros(int(max(ends)) + reach + 1 - low, bool)
    there[targets.indices - low] = True

    left = np.arange(len(queries.indices))
    start, stop = 0, FIRST_OFFSETS
    while len(left) and start < len(flat_steps):
        trials, found = flat_steps[start:stop], np.append(lengths[start:stop], np.nan)
        for at in range(0, len(left), BLOCK):
            own = left[at : at + BLOCK]
            distances[own] = found[_first_hits(there, queries.indices[own] - low, trials)]
        before, left = len(left), left[np.isnan(distances[left])]
        start, stop = stop, 2 * stop
        pays = before * len(trials) * LOOK_UP_NS < (before - len(left)) * QUERY_NS
        if not pays and len(left):
            away = Border(queries.indices[left], queries.grid)
            rest = min(
                _tree_ns(len(left), len(targets.indices)), _transform_ns(away, targets, single)
            )
            if len(left) * (len(flat_steps) - start) * LOOK_UP_NS > rest:
                break
    return left


def _first_hits(there: NDArray[np.bool_], places: Indices, trials: Indices) -> Indices:
    """Return ``(N,)`` which of the offsets ``(K,)`` is the first to hit; K where none does."""
    ranks, left = np.zeros(len(places), np.intp), np.arange(len(places))
    start = 0
    while len(left) and start < len(trials):
        some = trials[start : start + min(max(1, LOOK_UPS // len(left)), len(EARLIER)), None]
        hits = there.take(some + places).view(np.uint8)
        earliest = (hits * EARLIER[: len(some)]).max(axis=0)
        ranks[left] = start + len(EARLIER) - earliest.astype(np.intp)
        missed = np.flatnonzero(earliest == 0)
        left, places = left.take(missed), places.take(missed)
        start += len(some)
    ranks[left] = len(trials)
    return ranks


@lru_cache(maxsize=16)
def near_offsets(spacing: tuple[float, ...]) -> tuple[NDArray[np.intp], Distances]:
    """Return all offsets ``(K, 3)`` nearer than any that leaves the margin, and their mm ``(K,)``.

    In order of their length.
    """
    side = np.arange(-MARGIN, MARGIN + 1)
    steps = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.sqrt(((steps * np.asarray(spacing)) ** 2).sum(axis=1))
    inside = lengths < (MARGIN + 1) * min(spacing)
    order = np.argsort(lengths[inside], kind="stable")
    return steps[inside][order], lengths[inside][order]


def tree(queries: Border, targets: Border, spacing: Spacing) -> Distances:
    """Return the distances in mm ``(N,)`` from the queries to the nearest target, by k-d tree."""
    scale = np.asarray(spacing, np.float64)
    found = cKDTree(targets.points * scale, leafsize=32, balanced_tree=False)
    return found.query(queries.points * scale)[0]


def transform(queries: Border, targets: Border, spacing: Spacing) -> Distances:
    """Return the same by the Euclidean distance transform of the box that holds both."""
    free, places = _free_box(queries, targets)
    return distance_transform_edt(free, sampling=spacing)[places]


def transform_single(queries: Border, targets: Border, spacing: Spacing) -> Distances:
    """Return the same in single precision."""
    free, places = _free_box(queries, targets)
    distances = edt.edt(free, anisotropy=tuple(spacing), parallel=1)
    return np.asarray(distances[places], np.float64)


def common_box(first: Border, second: Border) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds both borders."""
    both = [border.points for border in (first, second)]
    low = np.min([points.min(axis=0) for points in both], axis=0)
    high = np.max([points.max(axis=0) for points in both], axis=0) + 1
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return x, y, z


def _free_box(
    queries: Border, targets: Border
) -> tuple[NDArray[np.bool_], tuple[NDArray[np.intp], ...]]:
    """Return the box of both without its targets, and the places of the queries in it."""
    box = common_box(queries, targets)
    low = [side.start for side in box]
    free = np.ones([side.stop - side.start for side in box], bool)
    free[tuple((targets.points - low).T)] = False
    return free, tuple((queries.points - low).T)


def _tree_ns(queries: int, targets: int) -> float:
    return targets * BUILD_NS + queries * QUERY_NS


def _transform_ns(queries: Border, targets: Border, single: bool) -> float:
    box = np.prod([side.stop - side.start for side in common_box(queries, targets)])
    return float(box) * (TRANSFORM_SINGLE_NS if single else TRANSFORM_NS)
