"""Labels that accompany a DICOM scan: SEG, RTSTRUCT, and contours in a JSON file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from medssl_bench.data.dicom_tags import modality_of
from medssl_bench.data.digest_index import INDEX
from medssl_bench.data.reading import FileSource, faults_of
from medssl_bench.data.volume import Header, Volume
from medssl_bench.digest import digest
from medssl_bench.errors import DataError

VERSION = 2
"""Raised whenever the same file and scan would give other voxels."""


@dataclass(frozen=True)
class DicomLabel:
    """1 where the named regions lie, 0 elsewhere, on the grid of the scan they were drawn on.

    ``names`` are those of a SEG's segments (SegmentDescription, else SegmentLabel) or of an
    RTSTRUCT's regions (ROIName), ``*`` and ``?`` standing for any; several are united. Of a
    ``contours.json`` the first structure counts, whatever its name.
    """

    path: Path
    image: FileSource
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(self.path)

    def header(self) -> Header:
        """Return the scan's geometry, after the label's tags were checked against it.

        Raises:
            DataError: Names the label's file and the cause: no such region (those there are are
                named), drawn on another series or grid, unreadable.
        """
        header = self.image.header()
        with self._faults():
            self._reader().check(self.path, self.image, self.names)
        return header

    def read(self) -> Volume:
        """Put the regions on the scan's grid, as uint8.

        Raises:
            DataError: As for ``header``, and for contours that lie on no slice.
        """
        header = self.image.header()
        with self._faults():
            mask = self._reader().read(self.path, self.image, header, self.names)
        return Volume(mask.astype(np.uint8), header.affine)

    def digest(self) -> str:
        """Digest of the file's bytes and the names; the scan has a digest of its own."""
        with faults_of(self.path):
            return digest([VERSION, INDEX.digest(self.path), *self.names])

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """As ``faults_of``; pydicom tells of a tag that is not there by an AttributeError."""
        import pydicom

        with faults_of(self.path):
            try:
                yield
            except AttributeError as error:
                if not isinstance(error.obj, pydicom.Dataset):
                    raise
                raise DataError(f"{self.path}: it has no {error.name}; fetch it again") from error

    def _reader(self) -> ModuleType:
        if not self.path.exists():
            raise DataError(f"{self.path}: no such file")
        if self.path.suffix.lower() == ".json":
            from medssl_bench.data import contours_json

            return contours_json
        modality = modality_of(self.path)
        if modality == "SEG":
            from medssl_bench.data import dicom_segmentation

            return dicom_segmentation
        if modality == "RTSTRUCT":
            from medssl_bench.data import dicom_structures

            return dicom_structures
        raise DataError(f"{self.path}: modality {modality or 'unknown'}; SEG or RTSTRUCT expected")
