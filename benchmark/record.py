"""What a cell is, and what a finished one leaves in ``record.json`` (see ``docs/record.md``)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from medssl_bench.digest import digest
from medssl_bench.errors import BenchError

SCHEMA_VERSION: Literal[1] = 1
"""Raised when a field changes its name or meaning; records of another version are not read."""

Name = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Shots = Annotated[str, Field(pattern=r"^(full|[1-9]\d*|\d+(\.\d+)?%)$")]
Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


def _plain_json(value: object, info: ValidationInfo) -> object:
    """Turn tuples into lists; raises ValueError for what JSON cannot say, NaN included."""
    if info.mode == "json":
        return value
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except TypeError as error:
        raise ValueError(str(error)) from None


Settings = Annotated[dict[str, JsonValue], BeforeValidator(_plain_json)]


class Part(BaseModel):
    """Base of every part of a record: immutable, no unknown field, no NaN (missing is None)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cell(Part):
    """The unit that runs, resumes and is recorded; equal cells have equal keys."""

    method: Name
    pretraining: Name
    """Key of the pretraining it starts from; ``none`` for scratch."""
    backbone: Name
    task: Name
    shots: Shots
    draw: Count
    seed: Count
    protocol: Name
    tuning: str = ""
    """What its method adds to the common fine-tuning, in words; empty where it adds nothing."""

    @cached_property
    def key(self) -> str:
        """SHA-256 of the fields, ``tuning`` only where there is some: the cell's identity (hex)."""
        return digest(self.model_dump(exclude=set() if self.tuning else {"tuning"}))

    @cached_property
    def slug(self) -> str:
        """A folder name that can be read: method, shots, draw, seed, and the key's start."""
        return (
            f"{folder_name(self.method)[:80]}_shots-{folder_name(self.shots)}_draw-{self.draw}"
            f"_seed-{self.seed}_{self.key[:12]}"
        )


def folder_name(text: str) -> str:
    """Return the text as one path component that is safe on every file system and in a shell."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text.replace("%", "pct")).lstrip(".") or "-"


class Split(Part):
    """The task's split: the pool that draws come from, and the cases tested."""

    digest: Sha256
    train: tuple[str, ...]
    test: tuple[str, ...]
    source: Name | None = None
    """The task's own rule, or the file of ``--split``; None in records from before it was kept."""

    @model_validator(mode="after")
    def _is_disjoint(self) -> Self:
        shared = sorted({*self.test}.intersection(self.train))
        if shared:
            raise ValueError(f"cases both trained on and tested: {', '.join(shared[:5])}")
        return self


class Draw(Part):
    """The labelled cases this cell used."""

    digest: Sha256
    cases: tuple[str, ...]
    """Trained on."""
    validation: tuple[str, ...] = ()
    """Used for choosing weights (``--select validation``); they count as labelled too."""
    labelled_total: Count

    @model_validator(mode="after")
    def _counts_every_labelled_case(self) -> Self:
        used = len({*self.cases, *self.validation})
        if used != self.labelled_total:
            raise ValueError(f"labelled_total is {self.labelled_total}, but {used} cases are named")
        return self


class Digests(Part):
    """SHA-256 digests of what went in and what came out; None where there is no such thing."""

    weights: Sha256
    """The weights that were tested."""
    split: Sha256
    corpus: Sha256 | None = None
    pretraining_weights: Sha256 | None = None


class Leaks(Part):
    """Test cases found in the pretraining corpus; ``checked`` is False where nobody looked."""

    checked: bool
    found: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    """One line for each pair of a test case and a volume that shows it."""


class Git(Part):
    """The source checkout that ran."""

    sha: str
    dirty: bool


class Machine(Part):
    """What decides the last bits of a result, and its speed."""

    device: str
    threads: int = Field(ge=1)
    instruction_set: str
    """As torch dispatches on it, e.g. ``AVX512``."""
    precision: str


class Cost(Part):
    """What the cell took, resumed sessions included."""

    wall_hours: Amount
    device_hours: Amount
    """Wall hours times devices; 0 where only the CPU worked."""
    peak_memory_bytes: Count | None
    """The most held while it ran: on a GPU by tensors, else by the process; None: not measured."""
    samples_per_second: Amount | None
    """Crops trained on per second; None where nothing was trained."""
    steps: Count
    crops: Count


class Reuse(Part):
    """How ``similarity.parquet`` and ``attention.parquet`` were measured."""

    crops: Count
    """Test crops that both encoders saw, the same for every method, draw and seed."""
    group: int = Field(ge=4)
    """Crops of each minibatch of CKA."""
    cells: int = Field(ge=1)
    """Features were averaged over at most so many cells along each axis."""
    crop: tuple[int, int, int]
    """Voxels."""
    attention_crops: Count
    """Crops that attention was looked at on; 0 where the backbone has no windows."""
    seconds: Amount


class Pretrained(Part):
    """How the encoder that a cell started from was pretrained, as far as methods are compared."""

    steps: Count
    batch: Count
    """Scans per step, on all devices together."""
    views: Count
    """Crops of each scan."""
    crop: tuple[int, int, int]
    """Voxels."""
    crops: Count
    """Crops seen in all."""
    negatives: Count
    """Negatives that each anchor of a contrastive term met in a step; 0 without such a term."""
    volumes: Count
    """Scans of the corpus."""
    devices: Count
    collapsed: bool | None
    """Whether the features of different crops became the same; None where nobody could tell."""


class Record(Part):
    """Everything known of a finished cell."""

    schema_version: Literal[1] = SCHEMA_VERSION
    cell: Cell
    key: Sha256
    profile: Name
    corpus: Name | None
    """Name of the pretraining corpus; None for scratch."""
    pretrain_seed: Count | None
    pretrained: Pretrained | None = None
    """None where nothing was trained before fine-tuning."""
    metrics: dict[str, dict[str, int | float | None]]
    """Target -> metric -> mean over test cases, with ``n`` and ``misses``; None where missing.
    Classification has ``all`` and one entry for each class against the rest."""
    definitions: dict[str, str]
    """Metric -> name of the definition it was computed by."""
    split: Split
    draw: Draw
    digests: Digests
    leaks: Leaks
    settings: Settings
    """Every setting that applied, in full."""
    versions: dict[str, int | str]
    """Part (method, task, backbone, ...) -> its version."""
    git: Git | None
    """None when installed from a wheel."""
    libraries: dict[str, str]
    machine: Machine
    cost: Cost
    similarity: Reuse | None = None
    """None where the encoders were not compared."""
    missing: tuple[str, ...] = ()
    """Channels that the network was tested without, joined by ``+``: the rows of
    ``missing.parquet``."""
    seeds: dict[str, int]
    started: Moment
    finished: Moment
    resumed: Count = 0

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.key != self.cell.key:
            raise ValueError("the key is not the cell's")
        if self.digests.split != self.split.digest:
            raise ValueError("digests.split is not the split's digest")
        strangers = sorted({*self.draw.cases, *self.draw.validation} - set(self.split.train))
        if strangers:
            raise ValueError(f"drawn cases outside the training pool: {', '.join(strangers[:5])}")
        return self

    def to_json(self) -> bytes:
        """Return the text of ``record.json``."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n").encode()


def parse_record(text: bytes, where: Path) -> Record:
    """Read a ``record.json``; raises BenchError that names ``where`` and the fault."""
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        version = _schema_version(text)
        if version is not None and version > SCHEMA_VERSION:
            raise BenchError(
                f"{where}: written by a newer version (schema {version}, this one reads"
                f" {SCHEMA_VERSION}); update medssl-bench"
            ) from None
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BenchError(
            f"{where}: not a record: {field + ': ' if field else ''}{first['msg']}"
        ) from None


def _schema_version(text: bytes) -> int | None:
    try:
        value = json.loads(text)["schema_version"]
    except (ValueError, TypeError, KeyError):
        return None
    return value if isinstance(value, int) else None


def headline(
    metrics: Mapping[str, Mapping[str, int | float | None]],
) -> tuple[Literal["Dice", "AUC"], int | float | None]:
    """Return the one number that sums a record up: mean Dice, or AUC of a classification."""
    if "all" in metrics and "auc" in metrics["all"]:
        return "AUC", metrics["all"]["auc"]
    return "Dice", metrics["mean"]["dice_mean"]


def utc_now() -> datetime:
    """Return the time for ``started`` and ``finished``."""
    return datetime.now(UTC).replace(microsecond=0)
