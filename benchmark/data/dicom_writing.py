"""Writing DICOM: a scan as a series of slices, and segmentations and structure sets of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.measure import find_contours

from medssl_bench.data.itk import LPS_TO_RAS
from medssl_bench.data.volume import Header

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTPLAN": "1.2.840.10008.5.1.4.1.1.481.5",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
}
"""Modality -> SOP class (PS3.4 B.5)."""


@dataclass(frozen=True)
class Scan:
    """Who and where a scan is; its UIDs are made of patient and name alone."""

    patient: str
    name: str
    modality: str
    header: Header

    def uid(self, *what: object) -> str:
        """Return a UID of this scan's own."""
        return generate_uid(entropy_srcs=[self.patient, self.name, *map(str, what)])

    @property
    def series(self) -> str:
        """The SeriesInstanceUID."""
        return self.uid("series")

    @property
    def lps(self) -> NDArray[np.float64]:
        """The affine from voxel index to LPS millimetres."""
        return np.asarray(LPS_TO_RAS @ self.header.affine)

    def position(self, place: int) -> list[str]:
        """Return ImagePositionPatient of a slice."""
        return _decimals(self.lps[:3, 3] + place * self.lps[:3, 2])

    def orientation(self) -> list[str]:
        """Return ImageOrientationPatient."""
        axes = self.lps[:3, :2] / np.linalg.norm(self.lps[:3, :2], axis=0)
        return _decimals(axes.T.ravel(), 10)

    def spacing(self) -> list[str]:
        """Return PixelSpacing: between rows, between columns."""
        return _decimals([self.header.spacing[1], self.header.spacing[0]])


def write_scan(scan: Scan, array: NDArray[np.int16], files: Sequence[Path]) -> list[Path]:
    """Write one file for each slice of ``(X, Y, Z)`` voxels; returns the files."""
    for place, file in enumerate(files):
        one = _object(scan, scan.modality, scan.series, scan.uid("slice", place))
        one.SeriesDescription = scan.name
        one.InstanceNumber = place + 1
        one.ImagePositionPatient = scan.position(place)
        one.ImageOrientationPatient = scan.orientation()
        one.PixelSpacing = scan.spacing()
        one.SliceThickness = _decimals([scan.header.spacing[2]])[0]
        if scan.modality == "CT":
            one.RescaleIntercept, one.RescaleSlope = "0", "1"
        _pixels(one, scan.header, bits=16)
        one.PixelRepresentation = 1
        one.PixelData = np.ascontiguousarray(array[:, :, place].T, dtype="<i2").tobytes()
        _save(one, file)
    return [*files]


def write_segmentation(
    scan: Scan, masks: Mapping[str, NDArray[np.bool_]], file: Path, *, backwards: bool = False
) -> Path:
    """Write a SEG: segment by segment, each with the slices in which it lies.

    Args:
        scan: The scan it belongs to.
        masks: SegmentDescription -> ``(X, Y, Z)``.
        file: A new file.
        backwards: Frames run from the last slice to the first, as in some published sets.
    """
    one = _object(scan, "SEG", scan.uid("SEG series"), scan.uid("SEG"))
    one.ImageType = ["DERIVED", "PRIMARY"]
    one.SegmentationType = "BINARY"
    one.ReferencedSeriesSequence = [_with(SeriesInstanceUID=scan.series)]
    one.SegmentSequence = [
        _with(SegmentNumber=number, SegmentLabel=f"Segment {number}", SegmentDescription=name)
        for number, name in enumerate(masks, 1)
    ]
    measures = _with(PixelSpacing=scan.spacing())
    plane = _with(ImageOrientationPatient=scan.orientation())
    one.SharedFunctionalGroupsSequence = [
        _with(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[plane])
    ]
    groups, frames = [], []
    for number, mask in enumerate(masks.values(), 1):
        places = np.flatnonzero(mask.any((0, 1)))
        for place in places[::-1] if backwards else places:
            identity = _with(ReferencedSegmentNumber=number)
            where = _with(ImagePositionPatient=scan.position(int(place)))
            groups.append(
                _with(SegmentIdentificationSequence=[identity], PlanePositionSequence=[where])
            )
            frames.append(mask[:, :, place].T)
    one.PerFrameFunctionalGroupsSequence = groups
    one.NumberOfFrames = len(frames)
    x, y, _ = next(iter(masks.values())).shape
    _pixels(one, Header((x, y, len(frames)), scan.header.affine), bits=1)
    one.PixelData = pack_bits(np.stack(frames).astype(np.uint8))
    return _save(one, file)


def write_structures(
    scan: Scan, regions: Mapping[str, Sequence[NDArray[np.float64]]], file: Path
) -> Path:
    """Write an RTSTRUCT of regions: name -> contours, each ``(N, 3)`` in LPS millimetres."""
    one = _object(scan, "RTSTRUCT", scan.uid("RTSTRUCT series"), scan.uid("RTSTRUCT"))
    one.StructureSetLabel = "contours"
    series = _with(SeriesInstanceUID=scan.series)
    study = _with(RTReferencedSeriesSequence=[series])
    one.ReferencedFrameOfReferenceSequence = [_with(RTReferencedStudySequence=[study])]
    one.StructureSetROISequence = [
        _with(ROINumber=number, ROIName=name) for number, name in enumerate(regions, 1)
    ]
    one.ROIContourSequence = []
    for number, contours in enumerate(regions.values(), 1):
        drawn = [
            _with(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=_decimals(points.ravel()),
            )
            for points in contours
        ]
        one.ROIContourSequence.append(_with(ReferencedROINumber=number, ContourSequence=drawn))
    return _save(one, file)


def write_contours_json(regions: Mapping[str, Sequence[NDArray[np.float64]]], file: Path) -> Path:
    """Write a ``contours.json`` as Vestibular-Schwannoma-SEG has it, regions in this order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    structures = [
        {
            "structure_name": name,
            "LPS_contour_points": [points.round(6).tolist() for points in contours],
        }
        for name, contours in regions.items()
    ]
    file.write_text(json.dumps(structures), "utf-8")
    return file


def write_companion(scan: Scan, modality: str, file: Path) -> Path:
    """Write an object without voxels that lies beside a scan (RTPLAN, RTDOSE)."""
    return _save(_object(scan, modality, scan.uid(modality, "series"), scan.uid(modality)), file)


def outlines(mask: NDArray[np.bool_], scan: Scan) -> list[NDArray[np.float64]]:
    """Return contours ``(N, 3)`` in LPS millimetres that enclose just the voxels of a mask.

    They run half-way between the centres of voxels within and without, around holes too.
    """
    found = []
    for place in np.flatnonzero(mask.any((0, 1))):
        for line in find_contours(np.pad(mask[:, :, place], 1).astype(np.float64), 0.5):
            index = np.column_stack([line[:-1] - 1, np.full(len(line) - 1, place)])
            found.append(index @ scan.lps[:3, :3].T + scan.lps[:3, 3])
    return found


def _object(scan: Scan, modality: str, series: str, uid: str) -> Dataset:
    """Return what every object of the patient has."""
    one = Dataset()
    one.SOPClassUID = CLASSES[modality]
    one.SOPInstanceUID = uid
    one.Modality = modality
    one.PatientID = one.PatientName = scan.patient
    one.StudyInstanceUID = generate_uid(entropy_srcs=[scan.patient, "study"])
    one.SeriesInstanceUID = series
    one.FrameOfReferenceUID = scan.uid("frame of reference")
    return one


def _pixels(one: Dataset, header: Header, bits: int) -> None:
    one.Columns, one.Rows = header.shape[:2]
    one.SamplesPerPixel = 1
    one.PhotometricInterpretation = "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = bits
    one.HighBit = bits - 1
    one.PixelRepresentation = 0


def _save(one: Dataset, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(file, one, enforce_file_format=True)
    return file


def _with(**values: object) -> Dataset:
    one = Dataset()
    for name, value in values.items():
        setattr(one, name, value)
    return one


def _decimals(values: NDArray[np.float64] | Sequence[float], places: int = 6) -> list[str]:
    """Return decimal strings, which DICOM limits to 16 characters."""
    return [f"{float(value):.{places}f}" for value in values]
