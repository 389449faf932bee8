"""``contours.json`` of the collection Vestibular-Schwannoma-SEG: contours without DICOM.

A list of structures, each with ``structure_name`` and ``LPS_contour_points``: for each contour its
points in LPS millimetres. Only the first structure is the tumour, whatever it is called (TV, tv,
AN, ...); as in the authors' own export, others (cochlea, brainstem) are not read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.contours import fill
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError


def check(path: Path, image: FileSource, names: tuple[str, ...]) -> None:
    """Refuse a file that holds no structures."""
    _first(path)


def read(
    path: Path, image: FileSource, header: Header, names: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Fill the first structure's contours on the scan's grid."""
    structure = _first(path)
    name = structure.get("structure_name", "the first structure")
    try:
        contours = [np.array(c, dtype=np.float64) for c in structure["LPS_contour_points"]]
        if any(points.ndim != 2 or points.shape[1] != 3 for points in contours):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: {name} has no contours of points (x, y, z)") from None
    try:
        return fill(contours, header)
    except DataError as error:
        raise DataError(f"{path}: {name}: {error}") from None


def _first(path: Path) -> dict[str, Any]:
    try:
        structures = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise DataError(f"{path}: no JSON; fetch it again") from None
    if not isinstance(structures, list) or not structures or not isinstance(structures[0], dict):
        raise DataError(f"{path}: no list of structures; is it the contours of another dataset?")
    return structures[0]
