"""``contours.json`` of the collection Vestibular-Schwannoma-SEG: contours without DICOM.

A list of structures, each with ``structure_name`` and ``LPS_contour_points``: for each contour its
points in LPS millimetres. Only the first structure is the tumour, whatever it is called (TV, tv,
AN, ...); as in the authors' own export, others (cochlea, brainstem) are not read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.contours import fill
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError


def check(path: Path, image: FileSource, names: tuple[str, ...]) -> None:
    """Refuse a file without structures, or whose first one has no contours."""
    _first(path)


def read(
    path: Path, image: FileSource, header: Header, names: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Fill the first structure's contours on the scan's grid."""
    name, contours = _first(path)
    try:
        return fill(contours, header)
    except DataError as error:
        raise DataError(f"{path}: {name}: {error}") from None


def _first(path: Path) -> tuple[str, list[NDArray[np.float64]]]:
    """Return the first structure's name and contours, each ``(N, 3)`` in LPS millimetres."""
    try:
        structures = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise DataError(f"{path}: no JSON; fetch it again") from None
    if not isinstance(structures, list) or not structures or not isinstance(structures[0], dict):
        raise DataError(f"{path}: no list of structures; is it the contours of another dataset?")
    name = str(structures[0].get("structure_name", "the first structure"))
    try:
        drawn = structures[0]["LPS_contour_points"]
        contours = [np.array(points, dtype=np.float64) for points in drawn]
        if any(points.ndim != 2 or points.shape[1] != 3 for points in contours):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: {name} has no contours of points (x, y, z)") from None
    return name, contours
