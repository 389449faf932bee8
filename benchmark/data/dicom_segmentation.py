"""DICOM segmentations (SEG): frames of a named segment, put where they lie in the scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from medssl_bench.data.contours import OFF_PLANE
from medssl_bench.data.dicom_index import matching, refuse_other_series
from medssl_bench.data.itk import LPS_TO_RAS
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError

IN_PLANE = 0.1
"""Farthest a frame's corners may lie from the scan's, in voxels."""


def check(path: Path, image: FileSource, names: tuple[str, ...]) -> None:
    """Refuse a segmentation without such a segment, of another series, or on another grid."""
    dataset = _open(path, image, pixels=False)
    _slices(path, dataset, image.header(), _segments(path, dataset, names))


def read(
    path: Path, image: FileSource, header: Header, names: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Stack the frames of the segments by their positions; slices without a frame are empty.

    Frames may come in any order. Where several segments are asked for, their union is returned.
    """
    dataset = _open(path, image, pixels=True)
    places = _slices(path, dataset, header, _segments(path, dataset, names))
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    if len(frames) != len(dataset.PerFrameFunctionalGroupsSequence):
        raise DataError(f"{path}: {len(frames)} frames of pixels, but the header tells of others")
    mask = np.zeros(header.shape, dtype=np.bool_)
    for frame, place in places.items():
        mask[:, :, place] |= frames[frame].T != 0
    return mask


def references(dataset: pydicom.Dataset) -> list[str]:
    """Return the SeriesInstanceUIDs of the scans that were segmented."""
    return [str(one.SeriesInstanceUID) for one in dataset.get("ReferencedSeriesSequence", ())]


def _open(path: Path, image: FileSource, *, pixels: bool) -> pydicom.Dataset:
    dataset = pydicom.dcmread(path, stop_before_pixels=not pixels)
    refuse_other_series(path, references(dataset), image)
    kind = str(dataset.get("SegmentationType", ""))
    if kind != "BINARY":
        raise DataError(f"{path}: a segmentation of type {kind or 'unknown'}; BINARY is read")
    return dataset


def _segments(path: Path, dataset: pydicom.Dataset, names: tuple[str, ...]) -> set[int]:
    """Return the numbers of the segments whose description, or else label, is asked for."""
    present = {
        int(one.SegmentNumber): [
            str(one.get(key, "")) for key in ("SegmentDescription", "SegmentLabel")
        ]
        for one in dataset.SegmentSequence
    }
    for key in range(2):
        found = {number for number, words in present.items() if matching([words[key]], names)}
        if found:
            return found
    shown = sorted({words[0] or words[1] for words in present.values()})
    raise DataError(f"{path}: no segment {' or '.join(names)}; there is {', '.join(shown)}")


def _slices(
    path: Path, dataset: pydicom.Dataset, header: Header, segments: set[int]
) -> dict[int, int]:
    """Return frame -> slice of the scan, for the frames of these segments.

    Raises:
        DataError: A frame has another size, or does not lie voxel on voxel on a slice.
    """
    size = (int(dataset.Columns), int(dataset.Rows))
    if size != header.shape[:2]:
        raise DataError(
            f"{path}: its frames have {size[0]}x{size[1]} voxels, the scan's slices"
            f" {header.shape[0]}x{header.shape[1]}"
        )
    to_index = np.linalg.inv(header.affine) @ LPS_TO_RAS
    corners = np.array([(x, y, 0, 1) for x in (0, size[0] - 1) for y in (0, size[1] - 1)])
    shared = dataset.get("SharedFunctionalGroupsSequence", [pydicom.Dataset()])[0]
    found: dict[int, int] = {}
    taken: dict[tuple[int, int], int] = {}
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        identity = _group(path, frame, shared, "SegmentIdentificationSequence")
        segment = int(identity.ReferencedSegmentNumber)
        if segment not in segments:
            continue
        placed = corners @ (to_index @ _frame_affine(path, frame, shared)).T
        place = round(float(placed[:, 2].mean()))
        apart = np.abs(placed[:, :3] - [*np.zeros(2), place] - corners[:, :3])
        if apart[:, :2].max() > IN_PLANE or apart[:, 2].max() > OFF_PLANE:
            raise DataError(
                f"{path}: frame {number + 1} does not lie voxel on voxel on a slice of the scan"
                f" (up to {apart.max():.2f} voxels off); it was drawn on another grid"
            )
        if not 0 <= place < header.shape[2]:
            raise DataError(f"{path}: frame {number + 1} lies beyond the scan's last slice")
        if (segment, place) in taken:
            raise DataError(
                f"{path}: frames {taken[segment, place] + 1} and {number + 1} of one segment lie"
                " on one slice"
            )
        taken[segment, place] = number
        found[number] = place
    return found


def _frame_affine(
    path: Path, frame: pydicom.Dataset, shared: pydicom.Dataset
) -> NDArray[np.float64]:
    """Return the affine from (column, row, 0) of a frame to LPS millimetres."""
    position = _group(path, frame, shared, "PlanePositionSequence").ImagePositionPatient
    plane = _group(path, frame, shared, "PlaneOrientationSequence").ImageOrientationPatient
    rows, columns = _group(path, frame, shared, "PixelMeasuresSequence").PixelSpacing
    affine = np.eye(4)
    affine[:3, 0] = np.array(plane[:3], dtype=np.float64) * float(columns)
    affine[:3, 1] = np.array(plane[3:], dtype=np.float64) * float(rows)
    affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 3] = np.array(position, dtype=np.float64)
    return affine


def _group(
    path: Path, frame: pydicom.Dataset, shared: pydicom.Dataset, name: str
) -> pydicom.Dataset:
    """Return a functional group of a frame, or of all frames."""
    for groups in (frame, shared):
        if groups.get(name):
            return groups[name][0]
    raise DataError(f"{path}: a frame has no {name}; its place in the scan is unknown")
