"""A task of one's own: ``task.yaml`` to a :class:`Task`. Every key is in docs/add-a-task.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medssl_bench.data.reading import FileSource
from medssl_bench.draws import check_split
from medssl_bench.errors import DataError, did_you_mean
from medssl_bench.task import Case, Intensity, Preprocessing, Task, Triple
from medssl_bench.tasks.intensity import intensity_of
from medssl_bench.tasks.layout import first_group, is_expression, list_volumes
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
        unknown = [new for new in self.remap.values() if new and new not in self.classes]
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

        Raises:
            DataError: no images, an image or label without its partner, an id of the split that
                is not there, a patient on both sides, or a side without cases.
        """
        base = self._base(root)
        images = {name: self._channel(base, name) for name in self.channels}
        labels = list_volumes(base, self.layout.labels)
        ids = sorted(set().union(*images.values()))
        patients = {number: first_group(self.layout.patient, number) for number in ids}
        cases: list[Case] = []
        for number, pool in self.split.pools(patients).items():
            for name, found in images.items():
                if number not in found:
                    raise DataError(f"{self.name}: case {number!r} has no channel {name!r}")
            if number not in labels:
                raise DataError(
                    f"{self.name}: {images[self.channels[0]][number]} has no label {number!r} in"
                    f" {base / self.layout.labels}; add it, or leave the case out of images"
                )
            sources = {name: FileSource(found[number]) for name, found in images.items()}
            cases.append(Case(number, sources, FileSource(labels[number]), patients[number], pool))
        self._refuse(patients, labels, cases)
        return cases

    def _base(self, root: Path | None) -> Path:
        """Return the folder that ``images`` is relative to: ``--data`` first, then the YAML's."""
        tried = [base for base in (root, self.file.parent) if base is not None]
        for base in tried:
            if self._channel(base, self.channels[0]):
                return base
        places = " nor ".join(str(base) for base in dict.fromkeys(tried))
        raise DataError(
            f"{self.name}: no images {self.layout.images!r} in {places};"
            f" give --data DIR or correct `images` in {self.file}"
        )

    def _channel(self, base: Path, name: str) -> dict[str, Path]:
        images, channels = self.layout.images, self.layout.channels
        if isinstance(images, dict):
            return list_volumes(base, images[name])
        if isinstance(channels, tuple):
            return list_volumes(base, f"{images}/{name}")
        found = list_volumes(base, images)
        if channels is None:
            return found
        ending = channels[name]
        return {key.removesuffix(ending): found[key] for key in found if key.endswith(ending)}

    def _refuse(self, patients: dict[str, str], labels: dict[str, Path], cases: list[Case]) -> None:
        known = {*patients, *patients.values()}
        for name in self.split.listed:
            if name not in known:
                raise DataError(
                    f"{self.name}: the split lists {name!r}, of which there is no image."
                    f"{did_you_mean(name, known)}"
                )
        alone = sorted(labels.keys() - patients.keys())
        if alone and not self.split.listed:
            raise DataError(f"{self.name}: label {labels[alone[0]]} has no image {alone[0]!r}")
        try:
            check_split(cases, self.name)
        except DataError as error:
            advice = (
                "" if self.split.listed else "; choose another seed, an exact `test: 2`, or lists"
            )
            raise DataError(f"{error}{advice}") from None

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
