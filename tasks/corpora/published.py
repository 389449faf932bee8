"""Published corpora described by the patterns of their official folder trees."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from medssl_bench.data.reading import FileSource
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case, Corpus
from medssl_bench.tasks.layout import first_group, list_volumes


class Part(BaseModel):
    """One dataset in one folder tree; patterns as in ``task.yaml``, with ``{id}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    images: dict[str, str]
    """Modality -> pattern of its files, or of folders with one DICOM series."""
    ids: str = ".+"
    """Regular expression that all of an id matches; what has another is not of this part."""
    case: str = "{id}"
    shown: str
    """The tree as a user sees it."""
    expected: int | None = None
    """Cases of the whole release."""
    samples: tuple[str, ...] = ("1", "2", "3", "4")
    """What stands for ``{id}`` in what ``bench data synth`` writes."""
    ending: str = ".nii.gz"
    """What files end in where a pattern says ``.nii*``."""
    codes: str = "RAS"
    """Axis codes in which the samples are stored."""


class Published(Corpus):
    """An unlabelled dataset in its official layout; a case has all modalities of one exam."""

    parts: tuple[Part, ...] = Field(exclude=True)
    together: bool = Field(False, exclude=True)
    """Every part that is there is taken. Without it, parts are layouts of the same scans, and the
    first that is there is taken."""
    folders: tuple[str, ...] = Field((), exclude=True)
    """Names of the folder that holds the tree, where ``--data`` is the one above it."""
    patient: str | None = Field(None, exclude=True)
    """Regular expression on a case's id that finds the patient."""
    only_complete: bool = Field(False, exclude=True)
    """Cases that lack a modality are part of the release and are passed over."""

    @property
    def expected(self) -> int | None:
        """Cases of the whole release, where that is known of every part that counts."""
        counts = [part.expected for part in (self.parts if self.together else self.parts[:1])]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def cases(self, root: Path | None) -> list[Case]:
        """List every case, with the part it is of.

        Raises:
            DataError: No part is there, a case lacks a modality, or two cases have one id.
        """
        found: dict[str, Case] = {}
        for base, part in self.find(root):
            for case in self._cases(base, part):
                if case.id in found:
                    raise DataError(f"{self.name}: {case.id} is there twice; remove one of them")
                found[case.id] = case
        return list(found.values())

    def find(self, root: Path | None) -> list[tuple[Path, Part]]:
        """Return the parts that are there, each with the folder that its patterns start from.

        Raises:
            DataError: None is.
        """
        if root is None:
            raise DataError(
                f"{self.name}: no data folder given; use --data DIR or BENCH_DATA, with what is"
                f" had from {self.access}; see `bench data status corpus:{self.name}`"
            )
        wanted = {name.lower() for name in (*self.folders, self.name)}
        inside = sorted(root.iterdir()) if root.is_dir() else []
        named = [path for path in inside if path.name.lower() in wanted and path.is_dir()]
        for base in (*named, root):
            parts = [(base, part) for part in self.parts if any(self.listed(base, part).values())]
            if parts:
                return parts if self.together else parts[:1]
        patterns = " or ".join(next(iter(part.images.values())) for part in self.parts)
        raise DataError(
            f"{self.name}: no scans in {root}; expected {patterns} there, from {self.access};"
            f" see `bench data status corpus:{self.name}`"
        )

    def listed(self, base: Path, part: Part) -> dict[str, dict[str, Path]]:
        """Return modality -> id -> path of one part."""
        found = {}
        for modality, pattern in part.images.items():
            try:
                volumes = list_volumes(base, pattern)
            except DataError as error:
                pair = str(error).partition(" have the same id")[0]
                raise DataError(f"{self.name}: {pair} are one scan twice; remove one") from None
            found[modality] = {n: p for n, p in volumes.items() if re.fullmatch(part.ids, n)}
        return found

    def _cases(self, base: Path, part: Part) -> list[Case]:
        images = self.listed(base, part)
        cases = []
        for number in sorted(set().union(*images.values())):
            name = part.case.replace("{id}", number)
            missing = [modality for modality, found in images.items() if number not in found]
            if missing and self.only_complete:
                continue
            if missing:
                place = base / part.images[missing[0]].replace("{id}", number)
                raise DataError(
                    f"{self.name}: {name} has no {missing[0]}, expected {place};"
                    " unpack it completely"
                )
            sources = {modality: FileSource(found[number]) for modality, found in images.items()}
            cases.append(Case(name, sources, None, self.patient_of(name), info={"part": part.name}))
        return cases

    def patient_of(self, case: str) -> str:
        """Return the patient of a case."""
        return first_group(self.patient, case)

    def tree(self) -> str:
        """Return every layout that is known."""
        return ("\nand\n" if self.together else "\nor\n").join(part.shown for part in self.parts)

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write made-up scans below ``out``: of every part, of the first, or of the one named."""
        from medssl_bench.data.synthetic import draw_bodies, save_volume, stored_affine

        known = {part.name: part for part in self.parts}
        if tree is not None and tree not in known:
            raise BenchError(f"{self.name}: no tree {tree!r}; known are {', '.join(known)}")
        parts = [known[tree]] if tree else self.parts if self.together else self.parts[:1]
        files = []
        for part in parts:
            for number in part.samples:
                words = (self.name, part.name, number)
                images, _ = draw_bodies(words, [*part.images], ct="CT" in part.images)
                for modality, image in images.items():
                    path = out / self.sample_path(part, modality, number)
                    files.append(save_volume(path, image, stored_affine(part.codes)))
        return files

    def sample_path(self, part: Part, modality: str, number: str) -> str:
        """Return where a sample's modality lies; raises BenchError where a pattern leaves it open.

        A folder's name, where a pattern is one of folders, means a DICOM series in it.
        """
        pattern = part.images[modality].replace("{id}", number)
        path = pattern.replace("**/", "").replace(".nii*", part.ending)
        path = path.replace("/*/*", "/study/series")
        if "*" in path or "?" in path:
            raise BenchError(f"{self.name}: {path} does not say what its files are called")
        return path
