"""Distances between the borders of two masks, in millimetres.

The nearest voxel of the other border is mostly a few voxels away. So the offsets around a voxel are
tried in order of their length, and the first that hits is the nearest; what lies beyond them is
left to a k-d tree or a distance transform, whichever is expected to be faster. All are exact.
"""

from __future__ import annotations

from functools import lru_cache

import edt
import numpy as np
from numpy.typing import NDArray

from medssl_bench.analysis.surface import MARGIN, Border, Indices, common_box

Distances = NDArray[np.float64]
Spacing = tuple[float, float, float]

FIRST_OFFSETS = 16
"""Offsets tried for every voxel; after them twice as many at each go, as long as it pays."""

BLOCK, LOOK_UPS = 8192, 32768
"""Voxels, and voxels times offsets, that are looked up together, so that they stay in cache."""

EARLIER = np.arange(255, 0, -1, dtype=np.uint8)[:, None]
"""Weighs offsets that are looked up together, so that the first to hit is the largest."""

LOOK_UP_NS = 4.0
"""Per voxel and offset. Like the numbers below measured on one core; they choose the way only."""
BUILD_NS, QUERY_NS = 150.0, 1100.0
"""Of the tree: per target, per voxel."""
TRANSFORM_NS, TRANSFORM_SINGLE_NS = 350.0, 45.0
"""Of the transform: per voxel of the box that holds both borders."""


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
    left = scan(queries, targets, spacing, distances, single)
    if len(left):
        points = queries.points[left]
        if _tree_ns(len(left), targets) < _transform_ns(queries, targets, single):
            distances[left] = tree(points, targets.points, spacing)
        else:
            distances[left] = transform(points, targets.points, spacing, single)
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
    while len(left) and start < len(lengths):
        trials, found = flat_steps[start:stop], np.append(lengths[start:stop], np.nan)
        for at in range(0, len(left), BLOCK):
            own = left[at : at + BLOCK]
            distances[own] = found[_first_hits(there, queries.indices[own] - low, trials)]
        before, left = len(left), left[np.isnan(distances[left])]
        start, stop = stop, 2 * stop
        paid = (before - len(left)) * QUERY_NS > before * len(trials) * LOOK_UP_NS
        if not paid and len(left):
            go_on = len(left) * (len(lengths) - start) * LOOK_UP_NS
            transform_ns = _transform_ns(queries, targets, single)
            if go_on > min(_tree_ns(len(left), targets), transform_ns):
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


def tree(points: Indices, targets: Indices, spacing: Spacing) -> Distances:
    """Return the distance in mm of each point ``(N, 3)`` to the nearest of the targets ``(M, 3)``.

    By k-d tree.
    """
    from scipy.spatial import cKDTree

    scale = np.asarray(spacing, np.float64)
    found = cKDTree(targets * scale, leafsize=32, balanced_tree=False)
    return found.query(points * scale)[0]


def transform(
    points: Indices, targets: Indices, spacing: Spacing, single: bool = False
) -> Distances:
    """Return the same by the Euclidean distance transform of the box that holds all.

    In single precision with ``single``.
    """
    from scipy.ndimage import distance_transform_edt

    low = np.minimum(points.min(axis=0), targets.min(axis=0))
    high = np.maximum(points.max(axis=0), targets.max(axis=0))
    free = np.ones(high - low + 1, bool)
    free[tuple((targets - low).T)] = False
    distances = (
        edt.edt(free, anisotropy=tuple(spacing), parallel=1)
        if single
        else distance_transform_edt(free, sampling=spacing)
    )
    return distances[tuple((points - low).T)].astype(np.float64, copy=False)


def _tree_ns(queries: int, targets: Border) -> float:
    return len(targets.indices) * BUILD_NS + queries * QUERY_NS


def _transform_ns(queries: Border, targets: Border, single: bool) -> float:
    voxels = np.prod([side.stop - side.start for side in common_box(queries, targets)])
    return float(voxels) * (TRANSFORM_SINGLE_NS if single else TRANSFORM_NS)
