"""A task of one's own: ``task.yaml`` to a :class:`Task`. Every key is in docs/add-a-task.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medssl_bench.data.faulty import FaultySource, closed_cases
from medssl_bench.data.labels import UNDEFINED
from medssl_bench.data.volume import Source
from medssl_bench.errors import DataError, did_you_mean
from medssl_bench.task import Case, Intensity, Preprocessing, Task, Triple
from medssl_bench.tasks.intensity import intensity_of
from medssl_bench.tasks.layout import Listing, first_group, is_expression, list_volumes
from medssl_bench.tasks.split import Split
from medssl_bench.tasks.yaml_file import read_mapping, validate

LOSSES = {"dice_ce": "organs", "dice_bce": "tumour"}


class TaskFile(BaseModel):
    """The keys of ``task.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    version: int = 1
    summary: str = ""
    images: str | dict[str, str]
    """A folder or pattern; or channel -> folder or pattern."""
    labels: str
    channels: dict[str, str] | tuple[str, ...] | None = None
    """Channel -> end of the file's name (``_0000``); or names of folders inside ``images``."""
    split: Split
    patient: str | None = None
    """Regular expression on a case's id; its first group, or all it matches, is the patient."""
    classes: dict[int, str]
    remap: dict[int, int] = Field(default_factory=dict)
    regions: dict[str, tuple[int | str, ...]] = Field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    modality: str
    spacing: Triple | None = (1.5, 1.5, 2.0)
    crop: tuple[int, int, int] = (96, 96, 96)
    intensity: Intensity
    grid: str | None = None
    """Channel onto whose grid, which is the label's, the others are resampled."""
    kind: Literal["organs", "tumour"] = "organs"
    loss: Literal["dice_ce", "dice_bce"] | None = None
    """Another way to say ``kind``: organs learn by Dice+CE, tumours by Dice+BCE."""
    licence: str = "unknown"
    access: str = ""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = dict(values)
        modality = values.get("modality")
        if isinstance(modality, str):
            values["modality"] = {"MRI": "MR"}.get(modality.upper(), modality.upper())
            values["intensity"] = intensity_of(values["modality"], values.get("intensity"))
        classes = values.get("classes")
        if isinstance(classes, list):
            values["classes"] = dict(enumerate(classes, start=1))
        elif isinstance(classes, dict) and classes.get(0) == "background":
            values["classes"] = {number: name for number, name in classes.items() if number != 0}
        for key in ("spacing", "crop"):
            if isinstance(values.get(key), int | float):
                values[key] = [values[key]] * 3
        if values.get("spacing") == "native":
            values["spacing"] = None
        if values.get("loss") in LOSSES:
            values.setdefault("kind", LOSSES[values["loss"]])
        return values

    _patient_is_expression = field_validator("patient")(is_expression)

    @field_validator("spacing", "crop")
    @classmethod
    def _is_positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("every side is above 0")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> TaskFile:
        if not self.classes:
            raise ValueError("classes: at least one is needed")
        if sorted(self.classes) != list(range(1, len(self.classes) + 1)):
            raise ValueError(f"classes: ids run from 1 without a gap, not {sorted(self.classes)}")
        if len({*self.classes.values()}) < len(self.classes):
            raise ValueError("classes: two have the same name")
        if self.loss is not None and LOSSES[self.loss] != self.kind:
            raise ValueError(f"loss: {self.loss} is that of kind {LOSSES[self.loss]}")
        named = {0, UNDEFINED, *self.classes}
        unknown = [new for new in self.remap.values() if new not in named]
        if unknown:
            raise ValueError(f"remap: {unknown[0]} is no class")
        for name, parts in self.regions.items():
            if not parts or name == "mean":
                raise ValueError(f"regions: {name} needs class ids, and another name than mean")
        for word, members, known in (
            ("regions", self.regions, {*self.classes, *self.classes.values()}),
            ("groups", self.groups, {*(self.regions or self.classes.values())}),
        ):
            for part in (part for parts in members.values() for part in parts):
                if part not in known:
                    near = did_you_mean(str(part), map(str, known))
                    what = "target" if word == "groups" and self.regions else "class"
                    raise ValueError(f"{word}: {part!r} is no {what}.{near}")
        if isinstance(self.images, dict) and self.channels is not None:
            raise ValueError("channels: left out where images names the channels itself")
        if self.grid is not None and self.grid not in self.channel_names:
            near = did_you_mean(self.grid, self.channel_names)
            raise ValueError(f"grid: {self.grid!r} is no channel.{near}")
        return self

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Channels in the order written; one unnamed channel is ``image``."""
        named = self.images if isinstance(self.images, dict) else self.channels
        return tuple(named) if named else ("image",)


class CustomTask(Task):
    """A task read from ``task.yaml``; paths are no part of what it is."""

    split: Split
    layout: TaskFile = Field(exclude=True, repr=False)
    file: Path = Field(exclude=True, repr=False)

    def cases(self, root: Path | None) -> list[Case]:
        """List the cases of the tree below ``root`` if it is there, else beside the YAML.

        Faulty are an image or label without its partner, two files of one id, and an id of the
        split that is not there.

        Raises:
            DataError: no images.
        """
        base = self._base(root)
        listings = {name: self._channel(base, name) for name in self.channels}
        listed_labels = list_volumes(base, self.layout.labels)
        advice = "mark the part of the path that tells cases apart with {id}"
        images = {name: listing.sources(advice=advice) for name, listing in listings.items()}
        labels = listed_labels.sources(advice=advice)
        closed = [path for one in (*listings.values(), listed_labels) for path in one.closed]
        ids = sorted(set().union(*images.values()))
        patients = {number: first_group(self.layout.patient, number) for number in ids}
        cases: list[Case] = []
        for number, pool in self.split.pools(patients).items():
            if closed and not (number in labels and all(number in of for of in images.values())):
                continue  # what is not seen may lie there; that is said once
            sources = {
                name: found.get(number)
                or FaultySource(
                    base / self._place(name), f"case {number!r} has no channel {name!r}"
                )
                for name, found in images.items()
            }
            label = labels.get(number) or FaultySource(
                Path(str(next(of[number] for of in images.values() if number in of))),
                f"has no label {number!r} in {base / self.layout.labels}; add it, or leave the case"
                " out of images",
            )
            cases.append(Case(number, sources, label, patients[number], pool))
        if not closed:
            cases += self._lonely(base, patients, labels)
        return cases + closed_cases(base, closed, self.channels)

    def _place(self, channel: str) -> str:
        """Return the folder or pattern of a channel."""
        images = self.layout.images
        return images[channel] if isinstance(images, dict) else images

    def _lonely(
        self, base: Path, patients: Mapping[str, str], labels: Mapping[str, Source]
    ) -> list[Case]:
        """Return a faulty case for each id of the split, or else each label, without an image."""
        known = {*patients, *patients.values()}
        faults = {
            name: FaultySource(
                base / self._place(self.channels[0]),
                f"the split lists {name!r}, of which there is no image.{did_you_mean(name, known)}",
            )
            for name in self.split.listed
            if name not in known
        }
        if not self.split.listed:
            for name in sorted(labels.keys() - patients.keys()):
                faults[name] = FaultySource(Path(str(labels[name])), f"has no image {name!r}")
        tested = self.split.test if isinstance(self.split.test, tuple) else ()
        return [
            Case(
                name,
                dict.fromkeys(self.channels, fault),
                pool="test" if name in tested else "train",
            )
            for name, fault in faults.items()
        ]

    def _base(self, root: Path | None) -> Path:
        """Return the folder that ``images`` is relative to: ``--data`` first, then the YAML's."""
        tried = [base for base in (root, self.file.parent) if base is not None]
        for base in tried:
            listing = self._channel(base, self.channels[0])
            if listing.paths or listing.closed:
                return base
        places = " nor ".join(str(base) for base in dict.fromkeys(tried))
        raise DataError(
            f"{self.name}: no images {self.layout.images!r} in {places};"
            f" give --data DIR or correct `images` in {self.file}"
        )

    def _channel(self, base: Path, name: str) -> Listing:
        images, channels = self.layout.images, self.layout.channels
        if isinstance(images, dict):
            return list_volumes(base, images[name])
        if isinstance(channels, tuple):
            return list_volumes(base, f"{images}/{name}")
        found = list_volumes(base, images)
        if channels is None:
            return found
        ending = channels[name]
        return found.renamed(lambda key: key.removesuffix(ending) if key.endswith(ending) else None)

    def tree(self) -> str:
        """Return what the YAML asks for."""
        return f"images: {self.layout.images}\nlabels: {self.layout.labels}"


def read_task(path: Path) -> CustomTask:
    """Read ``task.yaml``; raises BenchError with the file and the key at fault."""
    values = read_mapping(path)
    if isinstance(values.get("split"), str):
        values["split"] = read_mapping(path.parent / values["split"])
    layout = validate(values, TaskFile, path)
    shared = layout.model_dump(include=set(Task.model_fields) - {"channels", "regions"})
    ids = {name: number for number, name in layout.classes.items()}
    regions = {
        name: tuple(dict.fromkeys(p if isinstance(p, int) else ids[p] for p in parts))
        for name, parts in layout.regions.items()
    }
    preprocessing = Preprocessing(
        spacing=layout.spacing, intensity=layout.intensity, grid=layout.grid
    )
    return CustomTask(
        **shared,
        regions=regions,
        channels=layout.channel_names,
        preprocessing=preprocessing,
        split=layout.split,
        layout=layout,
        file=path.absolute(),
    )
