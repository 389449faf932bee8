"""Surfaces as DeepMind's surface-distance has them: small faces between voxels, weighted by area.

The surface lies on the grid of voxel corners. At each corner the 8 voxels around it say which faces
of a marching cube pass, and how large they are in mm^2 (Nikolov et al., JMIR 2021). BraTS measures
so; everything else here measures border voxels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medssl_bench.analysis.distances import Spacing, directed_distances
from medssl_bench.analysis.surface import MARGIN, Border, slabs

Areas = NDArray[np.float64]

ROUNDING = 1e-6
"""Areas come in float32; a share of the area equal to the percentile must count as reaching it."""


class Surfels(NamedTuple):
    """The surface of one mask on the corners of its voxels, one more along each axis."""

    corners: Border
    codes: NDArray[np.uint8]
    """``(N,)`` which of a corner's 8 voxels are inside, as bits."""


def find_surfels(mask: NDArray[np.bool_]) -> Surfels:
    """Find the corners of a mask ``(X, Y, Z)`` where inside meets outside; beyond is outside."""
    depth, height, width = mask.shape
    grid = depth + 1, height + 1 + MARGIN, width + 1 + MARGIN
    places, found = [], []
    for start, voxels in slabs(mask.view(np.uint8), grid, lead=1):
        codes = voxels[: -grid[1] * grid[2]]
        # One axis after another: the bits of 2 voxels become those of 4, then of 8.
        for bits, step in ((1, 1), (2, grid[2]), (4, grid[1] * grid[2])):
            codes = codes[:-step] << bits | codes[step:]
        # Neither 0, all outside, nor 255, all inside: adding 1 makes these the two smallest.
        mixed = np.flatnonzero(codes + np.uint8(1) > 1)
        places.append(start + mixed)
        found.append(codes[mixed])
    return Surfels(Border(np.concatenate(places), grid), np.concatenate(found))


def surfel_hd95(first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: Spacing) -> float:
    """Return the larger of the two directed, area-weighted 95th percentiles in mm.

    Without interpolation: the least distance within which 95 % of a surface's area lies.

    Args:
        first: ``(X, Y, Z)``, at least one voxel inside.
        second: The same grid, at least one voxel inside.
        spacing: Voxel size in mm along the three axes.
    """
    ours, theirs = find_surfels(first), find_surfels(second)
    forth, back = directed_distances(ours.corners, theirs.corners, spacing, single=True)
    areas = surfel_areas(spacing)
    return max(
        _area_percentile(forth, areas[ours.codes]), _area_percentile(back, areas[theirs.codes])
    )


@lru_cache(maxsize=64)
def surfel_areas(spacing: Spacing) -> Areas:
    """Return the area in mm^2 of the faces at a corner by its code ``(256,)``, DeepMind's table."""
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

    return np.asarray(create_table_neighbour_code_to_surface_area(spacing), np.float64)


def _area_percentile(distances: Areas, areas: Areas, percent: float = 95.0) -> float:
    order = np.argsort(distances)
    reached = np.cumsum(areas[order])
    place = np.searchsorted(reached, reached[-1] * (percent / 100 - ROUNDING))
    return float(distances[order[min(int(place), len(order) - 1)]])
