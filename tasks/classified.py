"""Published datasets whose volumes are classified whole, in their official layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from medssl_bench.data.faulty import FaultySource, closed_cases
from medssl_bench.data.volume import Source
from medssl_bench.task import Case, Intensity, Preprocessing
from medssl_bench.tasks.class_table import ClassTable
from medssl_bench.tasks.layout import first_group
from medssl_bench.tasks.release import ONE_TREE, Release, Tree
from medssl_bench.tasks.split import Split, Stratified

BRAIN = {
    "modality": "MR",
    "balanced": True,
    "preprocessing": Preprocessing(
        spacing=None,
        shape=(128, 128, 64),
        intensity=Intensity(rule="percentile", low=1.0, high=99.0),
    ),
    "crop": (96, 96, 64),
    "split": Stratified(test=3, of=10),
}
"""Paper 003 (section B.3) for brain MR: resized to 128x128x64, crops of 96x96x64, the centre at
test; 6:1:3, here 30 % tested and the rest for training. Its code scales from the 1st to the 99th
percentile, crops no foreground, and draws classes equally often."""


@dataclass(frozen=True)
class Scan:
    """One case as found: its files by channel, whose it is, and its class."""

    id: str
    images: Mapping[str, Source]
    patient: str
    class_id: int | None
    """None where it is faulty, and its images say why."""


class Example(BaseModel):
    """One scan that ``bench data synth`` writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    """Below the tree, with ``{channel}`` where there are several; a folder for DICOM."""
    shows: int
    """The class that its picture shows."""
    codes: str = "RAS"
    dicom: bool = False


class Classified(Release):
    """A dataset of classified volumes; its trees have no label files."""

    kind: Literal["classification"] = "classification"
    split: Stratified | Split  # type: ignore[assignment]  # by class, or lists
    """Lists of a published split are given as ``Split(test=..., train=...)``."""
    examples: dict[str, tuple[Example, ...]] = Field(default_factory=dict, exclude=True)
    """Tree -> what ``bench data synth`` writes in it, traps of the real data included."""
    tables: dict[str, str] = Field(default_factory=dict, exclude=True)
    """File -> text of the tables that lie beside them."""

    def cases(self, root: Path | None) -> list[Case]:
        """List the classified cases; those without a class that is asked for are passed over.

        A case that lacks a channel, a row of the table or a class is there, and faulty.

        Raises:
            DataError: No tree, or a table that cannot be used.
        """
        base, tree = self._find(root)
        assert isinstance(tree, Tree)
        closed: list[Path] = []
        scans: dict[str, Scan] = {}
        for scan in self.scans(base, tree, closed):
            if scan.id in scans:
                first = scans[scan.id]
                files = [str(next(iter(one.images.values()))) for one in (first, scan)]
                fault = FaultySource(Path(files[0]), f"{files[1]} is {scan.id} too; remove one")
                scan = Scan(scan.id, dict.fromkeys(self.channels, fault), scan.patient, None)
            scans[scan.id] = scan
        classes = {name: scan.class_id for name, scan in scans.items() if scan.class_id is not None}
        patients = {name: scans[name].patient for name in sorted(classes)}
        pools = (
            self.split.pools_of(patients, classes)
            if isinstance(self.split, Stratified)
            else self.split.pools(patients)
        )
        pools |= {name: "train" for name in sorted(scans) if name not in classes}
        cases = [
            Case(
                name,
                scans[name].images,
                patient=scans[name].patient,
                pool=pool,
                info={"tree": tree.name},
                class_id=scans[name].class_id,
            )
            for name, pool in pools.items()
        ]
        return cases + closed_cases(base, dict.fromkeys(closed), self.channels)

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write made-up cases below ``out``, in the first tree or the one named."""
        from medssl_bench.data.synthetic_scans import synthesise_scans

        return synthesise_scans(self, out, tree)

    def bases(self, root: Path) -> list[Path]:
        """Return the folder given: patterns reach below it, and tables may lie beside the scans."""
        return [root]

    def scans(self, base: Path, tree: Tree, closed: list[Path]) -> list[Scan]:
        """List what lies in a tree and has a class; what may not be read goes to ``closed``."""
        raise NotImplementedError

    def _channels_of(
        self, base: Path, tree: Tree, closed: list[Path]
    ) -> dict[str, dict[str, Source]]:
        """Return id -> channel -> file; a file that is not there is faulty."""
        listings = {word: self._list(base, tree, tree.images[word]) for word in self.channels}
        closed += [path for listing in listings.values() for path in listing.closed]
        found = {word: listing.sources(advice=ONE_TREE) for word, listing in listings.items()}
        every: dict[str, dict[str, Source]] = {}
        for number in sorted(set().union(*found.values())):
            if closed and not all(number in files for files in found.values()):
                continue  # what is not seen may lie there; that is said once
            every[number] = {
                word: files.get(number) or self._absent(base, tree, number, word)
                for word, files in found.items()
            }
        return every


class ClassifiedByFolder(Classified):
    """Classes are folders: ``{class}`` in a pattern stands for their names."""

    class_folders: dict[int, str]

    def scans(self, base: Path, tree: Tree, closed: list[Path]) -> list[Scan]:
        """List the cases of every class's folder."""
        found = []
        for class_id, folder in self.class_folders.items():
            of_class = tree.model_copy(update={"images": _named(tree.images, folder)})
            for number, images in self._channels_of(base, of_class, closed).items():
                patient = first_group(self.patient, number)
                found.append(Scan(number, images, patient, class_id))
        return found

    def holds(self, base: Path, tree: Tree, closed: list[Path]) -> bool:
        """Tell whether the folder of any class holds an image."""
        of_classes = [
            tree.model_copy(update={"images": _named(tree.images, folder)})
            for folder in self.class_folders.values()
        ]
        return any([super(ClassifiedByFolder, self).holds(base, one, closed) for one in of_classes])


class ClassifiedByTable(Classified):
    """Classes stand in a CSV or TSV file, by the case's id."""

    table: ClassTable

    def scans(self, base: Path, tree: Tree, closed: list[Path]) -> list[Scan]:
        """List the cases that the table gives a class."""
        images = self._channels_of(base, tree, closed)
        classes, faulty = self.table.classes_of(self.name, base, [*images])
        scans = [
            Scan(number, images[number], first_group(self.patient, number), class_id)
            for number, class_id in classes.items()
        ]
        return scans + [
            Scan(number, dict.fromkeys(self.channels, fault), number, None)
            for number, fault in faulty.items()
        ]


def _named(images: Mapping[str, str], folder: str) -> dict[str, str]:
    return {word: pattern.replace("{class}", folder) for word, pattern in images.items()}
