"""Published datasets described by the patterns of their official folder trees."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from medssl_bench.data.faulty import CLOSED, FaultySource, closed_cases
from medssl_bench.data.folders import names_in
from medssl_bench.data.hdf5 import Hdf5Source
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Source
from medssl_bench.errors import BenchError, DataError
from medssl_bench.task import Case, Task
from medssl_bench.tasks.dicom_tree import DicomTree
from medssl_bench.tasks.layout import Listing, first_group, list_volumes
from medssl_bench.tasks.split import FromNumber, Rounded, Split

ONE_TREE = "remove one, or point --data at one tree"
"""What to do where a case is there twice."""


class Tree(BaseModel):
    """One folder tree in which a release is met; patterns as in ``task.yaml``, with ``{id}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    images: dict[str, str]
    """Channel -> pattern of its files."""
    label: str = ""
    """Empty where volumes have no label files, but are classified whole."""
    shown: str
    """The tree as a user sees it."""
    ending: str = ".nii.gz"
    """What the files end in where a pattern says ``.nii*``."""
    any_case: bool = False
    """Whether letters of the patterns may be large or small."""
    inside: dict[str, str] = Field(default_factory=dict)
    """Where the files are HDF5: channel (or ``label``) -> the dataset in them."""
    affine: tuple[tuple[float, ...], ...] = ()
    """Where HDF5 files lie in space: rows of the matrix to RAS+ mm."""

    @property
    def places(self) -> dict[str, str]:
        """Channel -> what is expected of it."""
        return self.images

    def expected(self, base: Path, what: str) -> str:
        """Return where that is expected, in words."""
        return str(base / what)

    def source(self, path: Path, name: str) -> Source:
        """Return a channel or the label in a file of the tree."""
        if name in self.inside:
            return Hdf5Source(path, self.inside[name], self.affine)
        return FileSource(path)


class Samples(BaseModel):
    """What ``bench data synth`` writes, traps of the real data included."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    numbers: tuple[str, ...] = ("1", "2", "3", "4", "5", "6")
    """What stands for ``{id}``."""
    codes: tuple[str, ...] = ("RAS",)
    """Axis codes in which volumes are stored, in turns."""
    apart: tuple[str, ...] = ()
    """Channels that lie on a grid of their own, oblique to that of the others."""


class Release(Task):
    """A labelled dataset in its official layout, or in one of several."""

    trees: tuple[Tree | DicomTree, ...] = Field(exclude=True)
    """Tried in order; the first that holds an image is taken."""
    samples: Samples = Field(Samples(), exclude=True)
    folders: tuple[str, ...] = Field((), exclude=True)
    """Names of the folder that holds the tree, where ``--data`` is the one above it."""
    case: str = "{id}"
    """A case's id, from what ``{id}`` stood for."""
    patient: str | None = None
    """Regular expression on a case's id that finds the patient."""
    only_labelled: bool = False
    """Images without a label are part of the release and are passed over."""
    split: Split | FromNumber | Rounded

    def cases(self, root: Path | None) -> list[Case]:
        """List the labelled cases; a case without one of its files is there, and faulty.

        Raises:
            DataError: No tree.
        """
        base, tree = self._find(root)
        images, labels, closed = self._sources(base, tree)
        every = {*labels} if self.only_labelled else {*labels}.union(*images.values())
        every -= {*self.left_out}
        if closed:  # what is not seen may lie there; that is said once
            every = {n for n in every if n in labels and all(n in of for of in images.values())}
        patients = {number: first_group(self.patient, number) for number in sorted(every)}
        pools = self.split.pools(patients)
        cases = [
            Case(
                number,
                {
                    name: images[name].get(number) or self._absent(base, tree, number, name)
                    for name in self.channels
                },
                labels.get(number) or self._unlabelled(base, tree, images, number),
                patients[number],
                pool,
                {"tree": tree.name},
            )
            for number, pool in pools.items()
        ]
        if isinstance(self.split, FromNumber):
            cases += [self._unplaced(base, images, number) for number in patients.keys() - pools]
        return cases + closed_cases(base, closed, self.channels)

    def _unplaced(
        self, base: Path, images: Mapping[str, Mapping[str, Source]], number: str
    ) -> Case:
        """Return what stands for a case whose id does not say whether it is tested."""
        found = next((of[number] for of in images.values() if number in of), base)
        message = f"case {number!r} has no number, by which train and test are told; rename it"
        return Case(number, dict.fromkeys(self.channels, FaultySource(Path(str(found)), message)))

    def _absent(self, base: Path, tree: Tree | DicomTree, number: str, name: str) -> FaultySource:
        """Return what stands for a channel that a case lacks."""
        before, _, after = self.case.partition("{id}")
        number = number.removeprefix(before).removesuffix(after)
        place = tree.places[name].replace("{id}", number)
        if isinstance(tree, DicomTree):
            return FaultySource(base, f"no {place}; unpack it completely")
        return FaultySource(base / place, f"there is no {name}; unpack it completely")

    def _unlabelled(
        self,
        base: Path,
        tree: Tree | DicomTree,
        images: Mapping[str, Mapping[str, Source]],
        number: str,
    ) -> FaultySource:
        """Return what stands for the label of an image that has none."""
        image = next(of[number] for of in images.values() if number in of)
        expected = tree.expected(base, tree.label)
        return FaultySource(
            Path(str(image)), f"has no label, expected {expected}; unpack the labels completely"
        )

    def _sources(
        self, base: Path, tree: Tree | DicomTree
    ) -> tuple[dict[str, dict[str, Source]], dict[str, Source], list[Path]]:
        """Return the images by channel and id, the labels by id, and what may not be read."""
        if isinstance(tree, DicomTree):
            scans, drawn, shut = tree.found(base)
            return {self.channels[0]: self._named(scans)}, self._named(drawn), shut
        listings = {name: self._list(base, tree, where) for name, where in tree.images.items()}
        labels = self._list(base, tree, tree.label)
        images = {
            name: listing.sources(partial(tree.source, name=name), ONE_TREE)
            for name, listing in listings.items()
        }
        closed = [path for listing in (*listings.values(), labels) for path in listing.closed]
        return images, labels.sources(partial(tree.source, name="label"), ONE_TREE), closed

    def _named(self, found: Mapping[str, Source]) -> dict[str, Source]:
        """Put cases' ids for what ``{id}`` stood for."""
        return {self.case.replace("{id}", number): source for number, source in found.items()}

    def _find(self, root: Path | None) -> tuple[Path, Tree | DicomTree]:
        """Return the folder and the tree that lies in it."""
        if root is None:
            raise DataError(
                f"{self.name}: no data folder given; use --data DIR or BENCH_DATA, with what is"
                f" had from {self.access}; see `bench data status {self.name}`"
            )
        closed: list[Path] = []
        for base in self.bases(root):
            for tree in self.trees:
                found = (
                    tree.is_in(base, closed)
                    if isinstance(tree, DicomTree)
                    else self.holds(base, tree, closed)
                )
                if found:
                    return base, tree
        if closed:
            raise DataError(f"{self.name}: {closed[0]}: {CLOSED}")
        patterns = " or ".join(next(iter(tree.places.values())) for tree in self.trees)
        raise DataError(
            f"{self.name}: no cases in {root}; expected {patterns} there, from {self.access};"
            f" see `bench data status {self.name}`"
        )

    def bases(self, root: Path) -> list[Path]:
        """Return the folders that may hold the tree, the one given last."""
        wanted = {name.lower() for name in (*self.folders, self.name)}
        inside = [root / name for name in names_in(root) if name.lower() in wanted]
        named = [path for path in inside if path.is_dir()]
        return [*named, root]

    def holds(self, base: Path, tree: Tree, closed: list[Path]) -> bool:
        """Tell whether any image lies in ``base`` where the tree has them.

        Folders that may not be read are added to ``closed``.
        """
        found = [self._list(base, tree, pattern) for pattern in tree.images.values()]
        closed += [path for listing in found for path in listing.closed]
        return any(listing.paths for listing in found)

    def _list(self, base: Path, tree: Tree, pattern: str) -> Listing:
        found = list_volumes(base, pattern, any_case=tree.any_case)
        return found.renamed(lambda number: self.case.replace("{id}", number))

    def tree(self) -> str:
        """Return every layout that is known."""
        return "\nor\n".join(tree.shown for tree in self.trees)

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write made-up cases below ``out``, in the first tree or the one named."""
        from medssl_bench.data.synthetic import synthesise

        return synthesise(self, out, tree)

    def paths(self, number: str, tree: Tree) -> tuple[dict[str, str], str]:
        """Return where a case of the id part ``number`` lies in ``tree``: its channels, its label.

        Raises:
            BenchError: A pattern leaves open what a file is called.
        """
        places = [
            pattern.replace("{id}", number).replace("**/", "").replace(".nii*", tree.ending)
            for pattern in (*tree.images.values(), tree.label)
        ]
        if unclear := [place for place in places if "*" in place or "?" in place]:
            raise BenchError(f"{self.name}: {unclear[0]} does not say what its files are called")
        return dict(zip(tree.images, places, strict=False)), places[-1]
