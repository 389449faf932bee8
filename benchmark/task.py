"""What a task and a corpus are: declarative data, no training code.

Subclasses live in ``tasks/``; a user's own ``task.yaml`` becomes a :class:`Task` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from medssl_bench.data.volume import Source

Triple = tuple[float, float, float]


CONTRASTS = {
    **{"t1": "T1", "t1n": "T1", "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c", "t2": "T2"},
    **{"t2w": "T2", "flair": "FLAIR", "t2f": "FLAIR", "mra": "MRA", "pd": "PD"},
    **{"dwi": "DWI", "adc": "ADC"},
}
"""Name of a channel in lower case -> MR contrast by the name that corpora use."""


@dataclass(frozen=True)
class Case:
    """One subject's aligned volumes: channel -> source, and the label or class where known."""

    id: str
    images: Mapping[str, Source]
    label: Source | None = None
    patient: str = ""
    pool: Literal["train", "test"] = "train"
    info: Mapping[str, str] = field(default_factory=dict)
    class_id: int | None = None
    """Of the whole case, in a classification task, whose cases have no label volume."""

    @property
    def group(self) -> str:
        """The patient, by which splits are made (the case itself where none is known)."""
        return self.patient or self.id


class Intensity(BaseModel):
    """How raw intensities become [0, 1].

    ``clip``: ``low`` and ``high`` are raw values (HU for CT). ``percentile``: they are percentiles
    of the whole volume (paper 004: CT [-175, 250] HU, MR organs 5th-95th percentile).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    rule: Literal["clip", "percentile"] = "clip"
    low: float = -175.0
    high: float = 250.0


class Preprocessing(BaseModel):
    """Orientation is always RAS; spacing in mm (None keeps each scan's own).

    ``shape`` gives every case one working grid instead, whatever its extent (papers 001 and 003
    classify volumes so); spacing is None then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    spacing: Triple | None = (1.5, 1.5, 2.0)
    intensity: Intensity = Intensity()
    version: int = 1
    shape: tuple[int, int, int] | None = None
    """Working grid in voxels (R, A, S)."""
    grid: str | None = None
    """The channel whose grid rules, that of the label: others are resampled onto it, linearly and
    by physical position. None: channels that are not on one grid are refused."""

    @model_validator(mode="after")
    def _one_grid(self) -> Preprocessing:
        if self.shape is not None and self.spacing is not None:
            raise ValueError("give spacing or shape, not both (spacing: null beside shape)")
        if self.shape is not None and min(self.shape) < 1:
            raise ValueError("every side of shape is at least 1")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not asked for, so that digests are those from before there was it."""
        values: dict[str, Any] = handler(self)
        for name in ("shape", "grid"):
            if values[name] is None:
                del values[name]
        return values


class Task(BaseModel):
    """A labelled dataset with classes, split, preprocessing, loss and metrics.

    In a classification task the classes are those of whole cases, and numbered from 0; of two, 1 is
    the positive one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: int = 1
    summary: str = ""
    modality: str = "CT"
    channels: tuple[str, ...] = ("image",)
    contrasts: tuple[str, ...] = ()
    """MR contrast of each channel by the names that corpora use (T1, T1c, T2, FLAIR, MRA, PD, DWI,
    ADC), where its own name does not say it."""
    classes: dict[int, str]
    """Foreground ids after ``remap``, consecutive from 1, to names (or classes of cases, from 0).
    """
    remap: dict[int, int] = Field(default_factory=dict)
    """Raw label ids that mean something else here (AMOS MRI: 14 and 15 to background), or -1: that
    the dataset does not define, so that a label with them is refused (UPENN-GBM: 3)."""
    regions: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """What is measured where that is not each class: name -> the class ids it is made of, which
    may overlap (LiTS: ``liver`` is liver and tumour). Trained on are the classes."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Organ group -> targets (``bench analyze groups`` shows them)."""
    kind: Literal["organs", "tumour", "classification"] = "organs"
    """``organs``: Dice+CE, softmax. ``tumour``: Dice+BCE, tumour:background crops 1:1.
    ``classification``: CE, each case has one class; its crop is the task's own."""
    balanced: bool = False
    """In classification, training meets every class equally often."""
    preprocessing: Preprocessing = Preprocessing()
    crop: tuple[int, int, int] = (96, 96, 96)
    licence: str = "unknown"
    access: str = ""
    """Where the data can be had, in one line."""
    needs_data: bool = True
    """False for tasks that are generated (phantoms)."""
    expected: dict[Literal["train", "test"], int] = Field(default_factory=dict)
    """Cases of the whole release; a smaller tree is accepted and reported as found/expected."""
    left_out: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Cases of the release that are not used -> why."""

    @field_validator("classes")
    @classmethod
    def _names_are_free(cls, classes: dict[int, str]) -> dict[int, str]:
        """Each class is a row of its own; ``mean`` is the row of them all."""
        names = list(classes.values())
        for name in names:
            if name == "mean" or names.count(name) > 1:
                raise ValueError(f"class name {name!r} is taken; give each class its own")
        return classes

    @model_validator(mode="after")
    def _regions_are_of_classes(self) -> Task:
        for name, ids in self.regions.items():
            if unknown := [number for number in ids if number not in self.classes]:
                raise ValueError(f"regions: {name} names {unknown[0]}, which is no class")
            if not ids or len({*ids}) < len(ids) or name == "mean":
                raise ValueError(
                    f"regions: {name} needs class ids, each once, and another name than mean"
                )
        return self

    @model_validator(mode="after")
    def _classes_of_cases(self) -> Task:
        if not self.classifies:
            if self.balanced:
                raise ValueError("balanced: for classification tasks only")
            return self
        if sorted(self.classes) != list(range(len(self.classes))) or len(self.classes) < 2:
            raise ValueError("classes: two or more, numbered from 0 without a gap")
        if self.remap or self.regions or "all" in self.classes.values():
            raise ValueError("a classification task has no remap, no regions and no class 'all'")
        return self

    @model_validator(mode="after")
    def _contrasts_of_channels(self) -> Task:
        if self.contrasts and len(self.contrasts) != len(self.channels):
            raise ValueError("contrasts: one for each channel, in their order")
        return self

    @property
    def known_contrasts(self) -> tuple[str, ...]:
        """MR contrast of each channel, by the names that corpora use; empty where unknown."""
        return self.contrasts or tuple(CONTRASTS.get(name.lower(), "") for name in self.channels)

    @property
    def classifies(self) -> bool:
        """Whether whole cases are classified; else they are segmented."""
        return self.kind == "classification"

    @property
    def targets(self) -> dict[str, tuple[int, ...]]:
        """What is measured: name -> class ids; the regions, or else each class."""
        return self.regions or {name: (number,) for number, name in self.classes.items()}

    def cases(self, root: Path | None) -> list[Case]:
        """List every labelled case below ``root`` with its pool; raises DataError."""
        raise NotImplementedError

    def absent(self, root: Path | None) -> dict[str, str]:
        """Return the cases of the release's own list of which nothing is below ``root``.

        Each with what is said of it; a partial download may be wanted, so it stops nothing.
        """
        return {}

    def tree(self) -> str:
        """Return the folder tree expected below ``--data``, as text."""
        return ""

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write a few made-up cases in the official layout (or the one named ``tree``).

        Returns the files.

        Raises:
            BenchError: Nothing is written for this task, no such tree, or a file is in the way.
        """
        raise BenchError(
            f"{self.name}: no layout to write; `bench data synth` knows published datasets"
        )


class Corpus(BaseModel):
    """An unlabelled pretraining set; ``cases`` have one channel per modality and no label."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: int = 1
    summary: str = ""
    preprocessing: dict[str, Preprocessing]
    """Per modality; paper 004's CT corpus: 1.5x1.5x2 mm, clip [-500, 500] HU."""
    licence: str = "unknown"
    access: str = ""
    """Where the data can be had, in one line."""
    needs_data: bool = True

    @property
    def expected(self) -> int | None:
        """Cases of the whole release, where that is known."""
        return None

    def cases(self, root: Path | None) -> list[Case]:
        """List every case below ``root``, with all of its modalities; raises DataError."""
        raise NotImplementedError

    def tree(self) -> str:
        """Return the folder tree expected below ``--data``, as text."""
        return ""

    def write_samples(self, out: Path, tree: str | None = None) -> list[Path]:
        """Write a few made-up cases in the official layout (or the one named ``tree``).

        Returns the files.

        Raises:
            BenchError: Nothing is written for this corpus, no such tree, or a file is in the way.
        """
        raise BenchError(f"{self.name}: no layout to write; see `bench list corpora`")

    def resampled(self, modality: str) -> Corpus:
        """Return the corpus with the modalities of a case resampled onto the grid of one of them.

        Raises:
            BenchError: The corpus has no such modality.
        """
        if modality not in self.preprocessing:
            raise BenchError(
                f"corpus {self.name}:{modality}: no modality {modality!r}; it has"
                f" {', '.join(self.preprocessing)}"
            )
        rules = {
            name: rule.model_copy(update={"grid": modality})
            for name, rule in self.preprocessing.items()
        }
        name = f"{self.name}:{modality}"
        return self.model_copy(update={"name": name, "preprocessing": rules})
