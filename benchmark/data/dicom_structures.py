"""DICOM structure sets (RTSTRUCT): contours of named regions, filled on the scan's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from medssl_bench.data.contours import fill
from medssl_bench.data.dicom_index import matching, refuse_other_series
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contour types that enclose voxels; the second says that they combine by even-odd, as all do here
(DICOM PS3.3 C.8.8.6.3)."""


def check(path: Path, image: FileSource, names: tuple[str, ...]) -> None:
    """Refuse a structure set without such a region, or of another series."""
    _regions(path, _open(path, image), names)


def read(
    path: Path, image: FileSource, header: Header, names: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Fill the regions; where several are asked for, their union."""
    dataset = _open(path, image)
    mask = np.zeros(header.shape, dtype=np.bool_)
    contours = {int(one.ReferencedROINumber): one for one in dataset.get("ROIContourSequence", ())}
    for number, name in _regions(path, dataset, names).items():
        drawn = [
            np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            for contour in contours[number].get("ContourSequence", ())
            if _is_closed(path, name, contour)
        ]
        try:
            mask |= fill(drawn, header)
        except DataError as error:
            raise DataError(f"{path}: {name}: {error}") from None
    return mask


def references(dataset: pydicom.Dataset) -> list[str]:
    """Return the SeriesInstanceUIDs of the scans that were contoured."""
    return [
        str(series.SeriesInstanceUID)
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", ())
        for study in frame.get("RTReferencedStudySequence", ())
        for series in study.get("RTReferencedSeriesSequence", ())
    ]


def _open(path: Path, image: FileSource) -> pydicom.Dataset:
    dataset = pydicom.dcmread(path)
    refuse_other_series(path, references(dataset), image)
    return dataset


def _regions(path: Path, dataset: pydicom.Dataset, names: tuple[str, ...]) -> dict[int, str]:
    """Return the number and name of each region asked for that has contours."""
    contoured = {int(one.ReferencedROINumber) for one in dataset.get("ROIContourSequence", ())}
    present = {
        int(roi.ROINumber): str(roi.ROIName)
        for roi in dataset.get("StructureSetROISequence", ())
        if int(roi.ROINumber) in contoured
    }
    found = {number: name for number, name in present.items() if matching([name], names)}
    if not found:
        raise DataError(
            f"{path}: no region {' or '.join(names)}; there is"
            f" {', '.join(sorted(present.values())) or 'none'}"
        )
    return found


def _is_closed(path: Path, name: str, contour: pydicom.Dataset) -> bool:
    """Tell contours, which enclose voxels, from points; refuse what is open and no point."""
    kind = str(contour.get("ContourGeometricType", "CLOSED_PLANAR"))
    if kind not in (*CLOSED, "POINT"):
        raise DataError(f"{path}: {name}: a contour is {kind}; only closed planar ones enclose")
    return kind in CLOSED
