"""Borders of label maps and the distances between them, in millimetres.

A border voxel has at least one of its six face neighbours outside its own class; everything outside
the volume is background, so a voxel at the volume's edge is border (MONAI's and medpy's surface).

The nearest voxel of the other border is mostly a few voxels away. So the offsets around a voxel are
tried in order of their length, and the first that hits is the nearest; what lies beyond them is
left to a k-d tree or a distance transform, whichever is expected to be faster. All are exact.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

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

FIRST_OFFSETS = 64
"""Offsets tried for every voxel; after them twice as many at each go, as long as it pays."""

BLOCK, LOOK_UPS = 4096, 32768
"""Voxels, and voxels times offsets, that are looked up together, so that they stay in cache."""

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
    padded = np.zeros(grid, labels.dtype)
    padded[:, :height, :width] = labels
    flat = padded.reshape(-1)
    edge = np.zeros(flat.shape, bool)
    plane = grid[1] * grid[2]
    for step in (plane, grid[2], 1):
        differs = flat[step:] != flat[:-step]
        edge[step:] |= differs
        edge[:-step] |= differs
    edge[:plane] = edge[-plane:] = True
    edge &= flat != 0

    indices = np.flatnonzero(edge)
    owners = flat[indices]
    order = np.argsort(owners, kind="stable")
    ends = np.searchsorted(owners[order], np.arange(1, count + 2))
    by_owner = indices[order]
    return [
        Border(by_owner[start:stop], grid) for start, stop in zip(ends[:-1], ends[1:], strict=True)
    ]


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

    places = queries.indices - low
    left = np.arange(len(places))
    start, stop = 0, FIRST_OFFSETS
    while len(left) and start < len(flat_steps):
        trials = flat_steps[start:stop]
        ranks = np.concatenate(
            [
                _first_hits(there, places[left[at : at + BLOCK]], trials)
                for at in range(0, len(left), BLOCK)
            ]
        )
        hit = ranks >= 0
        distances[left[hit]] = lengths[start + ranks[hit]]
        looked_up, before = len(left) * len(trials), len(left)
        left = left[~hit]
        start, stop = stop, 2 * stop
        pays = looked_up * LOOK_UP_NS < (before - len(left)) * QUERY_NS
        if not pays and len(left):
            away = Border(queries.indices[left], queries.grid)
            rest = min(
                _tree_ns(len(left), len(targets.indices)), _transform_ns(away, targets, single)
            )
            if len(left) * (len(flat_steps) - start) * LOOK_UP_NS > rest:
                break
    return left


def _first_hits(there: NDArray[np.bool_], places: Indices, trials: Indices) -> Indices:
    """Return ``(N,)`` which of the offsets ``(K,)`` is the first to hit; -1 where none does."""
    ranks = np.full(len(places), -1)
    left = np.arange(len(places))
    start = 0
    while len(left) and start < len(trials):
        few = trials[start : start + max(1, LOOK_UPS // len(left)), None]
        hits = there.take(few + places)
        found = hits.any(axis=0)
        ranks[left[found]] = start + hits[:, found].argmax(axis=0)
        missed = ~found
        left, places = left[missed], places[missed]
        start += len(few)
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
