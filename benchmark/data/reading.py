"""Volumes in files: NIfTI, NRRD, MetaImage, and folders that hold one DICOM series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from medssl_bench.data.dicom_tags import dicom_files, is_dicom, may_be_image
from medssl_bench.data.digest_index import INDEX
from medssl_bench.data.faulty import CLOSED
from medssl_bench.data.folders import walk
from medssl_bench.data.volume import Header, Volume
from medssl_bench.digest import digest
from medssl_bench.errors import DataError

NIFTI = (".nii", ".nii.gz")
METAIMAGE_AND_NRRD = (".nrrd", ".mha", ".mhd")
EXTENSIONS = NIFTI + METAIMAGE_AND_NRRD


@dataclass(frozen=True)
class FileSource:
    """One volume in a file, or in a folder with one DICOM series.

    ``series`` picks a SeriesInstanceUID where a folder holds more than one image series.
    """

    path: Path
    series: str | None = None

    def __str__(self) -> str:
        return str(self.path)

    def header(self) -> Header:
        """Read shape and affine without the voxels.

        Raises:
            DataError: Names the path and the cause: missing, empty, not permitted, an unknown
                extension, a corrupt header, not three-dimensional, no usable geometry.
        """
        with faults_of(self.path):
            if self.path.is_dir():
                from medssl_bench.data import dicom

                return dicom.read_header(self.path, self.series)
            return _reader_of(self.path).read_header(self.path)

    def read(self) -> Volume:
        """Read voxels as stored, rescaled to their units where the format says how.

        Raises:
            DataError: As for ``header``, and for voxels that are truncated or damaged.
        """
        with faults_of(self.path):
            if self.path.is_dir():
                from medssl_bench.data import dicom

                return dicom.read_volume(self.path, self.series)
            return _reader_of(self.path).read_volume(self.path)

    def digest(self) -> str:
        """SHA-256 of the file's bytes; of a folder, of its files' digests in sorted order."""
        with faults_of(self.path):
            files = _files_of(self.path)
            digests = [INDEX.digest(file) for file in files]
        if len(digests) == 1 and self.series is None:
            return digests[0]
        return digest([*sorted(digests), self.series or ""])


def find_volumes(root: Path, closed: list[Path] | None = None) -> list[Path]:
    """Find every volume below ``root``, sorted: files of a known extension, DICOM folders as one.

    Hidden files are passed over, links are followed once. A folder whose DICOM files hold no image
    (structure sets, reports, segmentations) is no volume.

    Args:
        root: Where to begin.
        closed: Takes the files and folders of which it may not even be seen what they are.

    Raises:
        DataError: ``root`` is not a folder, or there are such files and ``closed`` was not given.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder that holds the volumes")
    found: list[Path] = []
    for here, _, names in walk(root, closed, links=True):
        files = [here / name for name in names if not name.startswith(".")]
        found += [file for file in files if file.name.lower().endswith(EXTENSIONS)]
        if any(_may_be_scan(file, closed) for file in files):
            found.append(here)
    return sorted(found)


def _may_be_scan(file: Path, closed: list[Path] | None) -> bool:
    try:
        return is_dicom(file) and may_be_image(file)
    except PermissionError:
        if closed is None:
            raise DataError(f"{file}: {CLOSED}") from None
        closed.append(file)
        return False


def _reader_of(path: Path) -> ModuleType:
    """Return the module that reads this file's format; the file is there, readable, not empty."""
    name = path.name.lower()
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not name.endswith(EXTENSIONS):
        raise DataError(
            f"{path}: unknown extension; known are {', '.join(EXTENSIONS)} and a folder with one"
            " DICOM series"
        )
    with path.open("rb") as stream:
        if not stream.read(1):
            raise DataError(f"{path}: the file is empty; fetch it again")
    if name.endswith(NIFTI):
        from medssl_bench.data import nifti

        return nifti
    from medssl_bench.data import itk

    return itk


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Turn whatever a reading library raises into one line that names the path.

    The libraries raise some twenty types between them (zlib.error, HeaderDataError, EOFError,
    RuntimeError from C++), so this boundary catches all but those that only a programmer causes.
    """
    try:
        yield
    except (DataError, AttributeError, NameError, ImportError, AssertionError):
        raise
    except PermissionError as error:
        inside = error.filename and Path(error.filename) != path
        which = Path(error.filename).name if inside else "it"
        raise DataError(f"{path}: no permission to read {which}") from error
    except Exception as error:
        cause = " ".join(str(error).rsplit("ERROR:", 1)[-1].split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read; fetch it again ({cause[:240]})") from error


def _files_of(path: Path) -> list[Path]:
    """Return the files whose bytes make up the volume."""
    if path.is_dir():
        return dicom_files(path)
    if path.suffix.lower() == ".mhd":
        from medssl_bench.data import itk

        return [path, *itk.data_files(path)]
    return [path]
