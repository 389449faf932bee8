"""Closed planar contours, as radiotherapy draws them, filled on the grid of a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

from medssl_bench.data.itk import LPS_TO_RAS
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError

OFF_PLANE = 0.2
"""Farthest a point may lie from its slice, as a share of the gap between slices; positions are
written with few decimals, and a scan's own slices may lie unevenly by half as much."""

DECIMALS = 3
"""Of a voxel, kept of a point: so the last bits of an affine do not decide whether a voxel whose
centre lies on a contour is inside (it is)."""


def fill(contours: Sequence[NDArray[np.float64]], header: Header) -> NDArray[np.bool_]:
    """Return the voxels ``(X, Y, Z)`` whose centres lie inside the contours, or on one.

    Several contours in a slice combine by even-odd (DICOM PS3.3 C.8.8.6.3): one within another is
    a hole, one within a hole an island. A contour that is drawn twice counts once, or its slice
    would be emptied. Contours of less than three points enclose nothing.

    Args:
        contours: Each ``(N, 3)`` in DICOM's LPS millimetres, closed without repeating a point.
        header: The scan's grid; its third axis runs across the slices.

    Raises:
        DataError: A contour lies on no slice, or beyond the scan; the file's name is the caller's.
    """
    mask = np.zeros(header.shape, dtype=np.bool_)
    to_index = np.linalg.inv(header.affine) @ LPS_TO_RAS
    gap = header.spacing[2]
    drawn: set[tuple[int, frozenset[tuple[float, ...]]]] = set()
    for number, points in enumerate(contours, 1):
        index = points @ to_index[:3, :3].T + to_index[:3, 3]
        place = round(float(index[:, 2].mean()))
        off = float(np.abs(index[:, 2] - place).max())
        if off > OFF_PLANE:
            raise DataError(
                f"contour {number} of {len(contours)} lies on no slice of the scan: it is up to"
                f" {off * gap:.2f} mm off, and slices are {gap:.2f} mm apart"
            )
        if not 0 <= place < header.shape[2]:
            beyond = -place if place < 0 else place - header.shape[2] + 1
            raise DataError(
                f"contour {number} of {len(contours)} lies {beyond * gap:.1f} mm beyond the scan's"
                " last slice; the scan is incomplete, or another one was contoured"
            )
        if len(points) >= 3:
            flat = index[:, :2].round(DECIMALS)
            outline = (place, frozenset(map(tuple, flat.tolist())))
            if outline in drawn:
                continue
            drawn.add(outline)
            inside = polygon(flat[:, 0], flat[:, 1], header.shape[:2])
            mask[(*inside, place)] ^= True
    return mask
