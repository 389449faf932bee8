"""Published datasets in DICOM: scans and their labels are told by tags, never by folder names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from medssl_bench.data.dicom_labels import DicomLabel
from medssl_bench.data.faulty import FaultySource
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Source
from medssl_bench.errors import DataError
from medssl_bench.tasks.layout import list_volumes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medssl_bench.data.dicom_index import Found


class DicomSamples(BaseModel):
    """What ``bench data synth`` writes of a collection in DICOM, traps included."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    layouts: tuple[str, ...]
    """A file's path by ``{patient}``, ``{series}`` (a number) and ``{file}``; used by turns."""
    scan: str
    """SeriesDescription."""
    region: str
    """Name of the label."""
    regions: tuple[str, ...] = ()
    """Names of other structures that are drawn beside it."""
    objects: tuple[str, ...] = ()
    """Modalities of other objects that lie beside."""
    other_scan: str = ""
    """SeriesDescription of a scan of the same modality that lies beside."""
    other_contours: str = ""
    """Its ``contours.json``, with ``{id}``."""


class DicomTree(BaseModel):
    """A tree of DICOM files of one collection, one scan for each patient.

    Where a patient has several scans of the modality and description, the one that the label
    refers to is taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    modality: str
    """Modality (0008,0060) of the scans."""
    patient: str
    """PatientID, with ``{id}`` for the part that tells the cases apart."""
    digits: int = 0
    """``{id}`` is a number without zeros at its front, which PatientID pads to so many digits."""
    description: str = ""
    """Regular expression that is found in the SeriesDescription of the scans."""
    regions: tuple[str, ...] = ()
    """Names of the segments (SEG) or regions (RTSTRUCT) that are the label; ``*`` and ``?`` stand
    for any, several are united."""
    contours: str = ""
    """Pattern of the ``contours.json`` that is the label instead, with ``{id}``."""
    wrong_segmentations: tuple[str, ...] = ()
    """Ids whose SEG does not fit the scan: their RTSTRUCT is read."""
    shown: str
    """The tree as a user sees it."""
    samples: DicomSamples

    @property
    def places(self) -> dict[str, str]:
        """Channel -> what is expected of it, in words."""
        which = f" with {self.description!r} in SeriesDescription" if self.description else ""
        return {"image": f"DICOM {self.modality} of PatientID {self.patient}{which}"}

    @property
    def label(self) -> str:
        """What is expected of the label."""
        return self.contours or f"SEG or RTSTRUCT of PatientID {self.patient}"

    def expected(self, base: Path, what: str) -> str:
        """Return where that is expected, in words."""
        return f"{what} below {base}"

    def is_in(self, base: Path, closed: list[Path]) -> bool:
        """Tell whether such a scan lies below ``base``; what may not be read goes to ``closed``."""
        return any(self._is_scan(one) for one in self._find(base, closed))

    def found(self, base: Path) -> tuple[dict[str, Source], dict[str, Source], list[Path]]:
        """Return the scans and the labels by id, and what may not be read.

        Faulty are those of a patient who has several scans or labels whose references do not tell
        which belong together.
        """
        closed: list[Path] = []
        scans: dict[str, list[Found]] = {}
        beside: dict[str, list[Found]] = {}
        for one in self._find(base, closed):
            which = scans if self._is_scan(one) else beside
            which.setdefault(self._id(one.patient), []).append(one)
        drawn: dict[str, Source] = {}
        files: dict[str, Path] = {}
        if self.contours:
            listing = list_volumes(base, self.contours)
            files, drawn = listing.paths, listing.sources()
            closed += listing.closed
        images: dict[str, Source] = {}
        labels: dict[str, Source] = {}
        for number, several in scans.items():
            if isinstance(twice := drawn.get(number), FaultySource):
                images[number] = FileSource(several[0].path)
                labels[number] = twice
                continue
            beside_it = [files[number]] if number in files else self._labels(number, beside)
            try:
                scan, file = self._pair(number, several, beside_it)
            except DataError as error:
                images[number] = labels[number] = FaultySource(several[0].path, str(error))
                continue
            images[number] = image = FileSource(scan.path)
            if file is not None:
                labels[number] = DicomLabel(file, image, self.regions)
        return images, labels, list(dict.fromkeys(closed))

    def _find(self, base: Path, closed: list[Path]) -> Iterator[Found]:
        from medssl_bench.data.dicom_index import find

        return find(base, self._expression(), closed)

    def _is_scan(self, one: Found) -> bool:
        return one.modality == self.modality and bool(re.search(self.description, one.description))

    def _expression(self) -> re.Pattern[str]:
        before, _, after = self.patient.partition("{id}")
        number = "0*(?P<id>[0-9]+)" if self.digits else "(?P<id>.+)"
        return re.compile(re.escape(before) + number + re.escape(after))

    def _id(self, patient: str) -> str:
        match = self._expression().fullmatch(patient)
        assert match is not None
        return match["id"]

    def patient_of(self, number: str) -> str:
        """Return the PatientID of an id."""
        return self.patient.replace("{id}", number.zfill(self.digits))

    def _labels(self, number: str, beside: dict[str, list[Found]]) -> list[Path]:
        """Return the patient's SEGs; where there is none or it is known to be wrong, RTSTRUCTs."""
        if self.contours:
            return []
        others = beside.get(number, [])
        for modality in ("SEG", "RTSTRUCT"):
            found = [one.path for one in others if one.modality == modality]
            if found and not (modality == "SEG" and number in self.wrong_segmentations):
                return found
        return []

    def _pair(
        self, number: str, scans: list[Found], labels: list[Path]
    ) -> tuple[Found, Path | None]:
        """Return the scan and label that belong together."""
        if len(scans) == 1 and len(labels) <= 1:
            return scans[0], labels[0] if labels else None  # whether they do is checked by reading
        from medssl_bench.data.dicom_index import references_of

        refer = {file: references_of(file) for file in labels if file.suffix != ".json"}
        pairs = [(s, file) for file, uids in refer.items() for s in scans if s.series in uids]
        if len(pairs) == 1:
            return pairs[0]
        patient = self.patient_of(number)
        shown = ", ".join(str(path) for path in (*(one.path for one in scans), *labels))
        raise DataError(
            f"{patient} has {len(scans)} scans and {len(labels)} labels, and their references name"
            f" {len(pairs) or 'no'} pairs: {shown}; keep one scan and its label"
        )
