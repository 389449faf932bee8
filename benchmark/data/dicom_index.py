"""What a tree of DICOM files holds, by their tags: scans, and what accompanies them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from re import Pattern

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from medssl_bench.data.dicom_tags import dicom_files, may_be_image, modality_of
from medssl_bench.data.faulty import CLOSED
from medssl_bench.data.folders import walk
from medssl_bench.data.reading import FileSource
from medssl_bench.errors import DataError

SERIES_UID = 0x0020000E


@dataclass(frozen=True)
class Found:
    """A scan (then ``path`` is its folder) or one accompanying object (its file)."""

    path: Path
    modality: str
    patient: str
    series: str
    description: str


def find(root: Path, patient: Pattern[str], closed: list[Path] | None = None) -> Iterator[Found]:
    """Yield what lies below ``root`` of patients whose PatientID matches, folder by folder.

    The first readable file of a folder tells the patient. Of scans, one file is read: whether a
    folder holds a single series is checked where the scan is read. What may not be read goes to
    ``closed``.

    Raises:
        DataError: Something may not be read, and ``closed`` was not given.
    """
    for folder, _, _ in walk(root, closed):
        try:
            yield from _in_folder(folder, patient)
        except PermissionError as error:
            path = Path(error.filename)
            if closed is None:
                raise DataError(f"{path}: {CLOSED}") from None
            closed.append(path)


def _in_folder(folder: Path, patient: Pattern[str]) -> Iterator[Found]:
    files = dicom_files(folder)
    first = next((tags for file in files if (tags := _tags(file)) is not None), None)
    if first is None or not patient.fullmatch(str(first.get("PatientID", "")).strip()):
        return
    scan = False
    for file in files:
        image = may_be_image(file)
        # A damaged file is named by the scan's reader.
        if (image and scan) or (tags := _tags(file)) is None:
            continue
        scan |= image
        yield Found(
            path=folder if image else file,
            modality=modality_of(file),
            patient=str(tags.get("PatientID", "")).strip(),
            series=str(tags.get("SeriesInstanceUID", "")),
            description=str(tags.get("SeriesDescription", "")),
        )


def references_of(file: Path) -> list[str]:
    """Return the SeriesInstanceUIDs of the scans that a SEG or RTSTRUCT refers to."""
    from medssl_bench.data import dicom_segmentation, dicom_structures

    dataset = pydicom.dcmread(file, stop_before_pixels=True)
    return [*dicom_segmentation.references(dataset), *dicom_structures.references(dataset)]


def refuse_other_series(path: Path, referred: list[str], image: FileSource) -> None:
    """Raise DataError unless the scan's SeriesInstanceUID is among those referred to."""
    present = series_of(image)
    if present not in referred:
        raise DataError(
            f"{path}: refers to series {' and '.join(referred) or '(none)'}, but the scan in"
            f" {image.path} is series {present}; they do not belong together"
        )


def series_of(image: FileSource) -> str:
    """Return the SeriesInstanceUID of the scan in a folder."""
    if image.series is not None:
        return image.series
    for file in dicom_files(image.path):
        if may_be_image(file) and (tags := _tags(file)) is not None:
            return str(tags.get("SeriesInstanceUID", ""))
    raise DataError(f"{image.path}: no DICOM image series in this folder")


def matching(present: Iterable[str], wanted: tuple[str, ...]) -> list[str]:
    """Return the names that are asked for; ``*`` and ``?`` in ``wanted`` stand for any."""
    return [name for name in present if any(fnmatchcase(name.strip(), one) for one in wanted)]


def _tags(file: Path) -> pydicom.Dataset | None:
    """Read up to the SeriesInstanceUID; None where the file cannot be read."""

    def past(tag: BaseTag, vr: str | None, length: int) -> bool:
        return tag > SERIES_UID

    try:
        with file.open("rb") as stream:
            return read_partial(stream, stop_when=past)
    except (InvalidDicomError, EOFError):
        return None
