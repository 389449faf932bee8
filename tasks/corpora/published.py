"""Published corpora described by the patterns of their official folder trees."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from medssl_bench.data.faulty import CLOSED, FaultySource, closed_cases
from medssl_bench.data.folders import names_in
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case, Corpus
from medssl_bench.tasks.layout import Listing, first_group, list_volumes


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

        A case that lacks a modality, or is there twice, is faulty.

        Raises:
            DataError: No part is there.
        """
        found: dict[str, Case] = {}
        for base, part in self.find(root):
            for case in self._cases(base, part):
                if case.id in found:
                    place, other = (
                        str(next(iter(one.images.values()))) for one in (found[case.id], case)
                    )
                    fault = FaultySource(Path(place), f"{other} is {case.id} too; remove one")
                    case = replace(case, images=dict.fromkeys(case.images, fault))
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
        inside = [root / name for name in names_in(root) if name.lower() in wanted]
        named = [path for path in inside if path.is_dir()]
        closed: list[Path] = []
        for base in (*named, root):
            parts = []
            for part in self.parts:
                listings = self.listed(base, part).values()
                closed += [path for listing in listings for path in listing.closed]
                if any(listing.paths for listing in listings):
                    parts.append((base, part))
            if parts:
                return parts if self.together else parts[:1]
        if closed:
            raise DataError(f"{self.name}: {closed[0]}: {CLOSED}")
        patterns = " or ".join(next(iter(part.images.values())) for part in self.parts)
        raise DataError(
            f"{self.name}: no scans in {root}; expected {patterns} there, from {self.access};"
            f" see `bench data status corpus:{self.name}`"
        )

    def listed(self, base: Path, part: Part) -> dict[str, Listing]:
        """Return modality -> the scans of one part."""
        return {
            modality: list_volumes(base, pattern).renamed(
                lambda number: number if re.fullmatch(part.ids, number) else None
            )
            for modality, pattern in part.images.items()
        }

    def _cases(self, base: Path, part: Part) -> list[Case]:
        listings = self.listed(base, part)
        closed = [path for listing in listings.values() for path in listing.closed]
        images = {modality: listing.sources() for modality, listing in listings.items()}
        cases = []
        for number in sorted(set().union(*images.values())):
            name = part.case.replace("{id}", number)
            complete = all(number in found for found in images.values())
            # What is not seen may lie where nothing may be read; that is said once.
            if not complete and (self.only_complete or closed):
                continue
            sources = {
                modality: found.get(number)
                or FaultySource(
                    base / part.images[modality].replace("{id}", number),
                    f"there is no {modality}; unpack it completely",
                )
                for modality, found in images.items()
            }
            cases.append(Case(name, sources, None, self.patient_of(name), info={"part": part.name}))
        return cases + closed_cases(base, closed, listings)

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
