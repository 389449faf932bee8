"""Every setting of a run: pydantic models, YAML profiles, and ``--set key.path=value``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from medssl_bench.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from medssl_bench.task import Task

Crop = tuple[int, int, int]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PretrainSettings(_Model):
    """Pretraining, the same for every method (paper 004, section 3.3 unless noted)."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Scans per optimizer step on all devices together; a method with two views takes two crops of
    each."""
    crop: Crop = (96, 96, 96)
    view_shift: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Largest distance along each axis between the crops of a scan that a method compares, in crop
    sides; None: any two crops of the scan (paper 004). SMIT's code: 1/3; nnssl's SimCLR: 1/2."""
    lr: float = Field(2e-4, gt=0)
    min_lr: float = Field(1e-6, ge=0)
    warmup_fraction: float = Field(30 / 500, ge=0, lt=1)
    """30 of 500 epochs."""
    weight_decay: float = Field(0.05, ge=0)
    """Unstated in the paper; none on 1-D tensors, mask tokens and relative-position tables."""
    betas: tuple[float, float] = (0.9, 0.999)
    clip_gradient: float | None = Field(None, gt=0)
    """Largest total gradient norm; the paper states no clipping."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    compile: bool | Literal["auto"] = "auto"
    """Compile the encoder's blocks by ``torch.compile``; ``auto``: on a GPU, for 5000 steps and
    more, where it can be done. Changes rounding alone, as threads do, so it is part of no key."""
    probe: str | None = None
    """A task whose training cases a kNN probe is taken on meanwhile, of the encoder that learns (a
    student, also where its teacher is handed on)."""
    probe_every: int = Field(1000, ge=1)
    """Steps between probes."""


class Augmentation(_Model):
    """Fine-tuning augmentation; by default that of the public SMIT code."""

    rotate90: float = Field(0.2, ge=0, le=1)
    """Probability of a rotation by a multiple of 90 degrees in the axial plane."""
    intensity: float = Field(0.1, ge=0, le=1)
    """Probability each of scaling and of shifting intensities."""
    intensity_range: float = Field(0.1, ge=0)
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of mirroring, of each axis for itself (paper 003, appendix B.2: 0.5). It tells
    left from right no more: for tumours and classes, not for organs of one side."""
    flip_jointly: bool = False
    """Mirror all three axes or none (paper 003's code)."""


class Epochs(_Model):
    """A budget in passes over the labelled cases (paper 004: 3000 few-shot, 1000 full)."""

    few: int = Field(3000, ge=1)
    full: int = Field(1000, ge=1)


class FinetuneSettings(_Model):
    """Fine-tuning, the same for every method and task (paper 004, sections 3.3 and 4)."""

    steps: int | None = Field(None, ge=1)
    """Optimizer steps; or give ``epochs`` instead."""
    epochs: Epochs | None = None
    batch: int = Field(3, ge=1)
    """Cases per optimizer step."""
    crops_per_case: int = Field(1, ge=1)
    crop: Crop | None = None
    """Overrides the crop of segmentation tasks; a classification task's belongs to its grid."""
    lr: float = Field(2e-4, gt=0)
    pretrained_lr_scale: float = Field(1.0, gt=0, le=1)
    """Share of ``lr`` at which a pretrained encoder learns; all that is new learns at ``lr``."""
    channels: Literal["repeat", "fresh"] = "repeat"
    """How an encoder pretrained on one channel takes several. ``repeat``: its first convolution
    sees their mean (weights repeated and divided by their number); ``fresh``: that convolution
    starts anew, the rest is loaded (paper 003's code)."""
    min_lr: float = Field(0.0, ge=0)
    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(1e-5, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip_gradient: float | None = Field(None, gt=0)
    drop_path: float = Field(0.0, ge=0, lt=1)
    positive_share: float = Field(0.5, ge=0, le=1)
    """Share of crops centred on a foreground voxel (1:1 as in the paper's tumour tasks)."""
    augmentation: Augmentation = Augmentation()
    validation_cases: int = Field(2, ge=1)
    """With ``select: validation``: cases held out of the training pool."""
    validation_every: int = Field(100, ge=1)
    """Steps between validation rounds."""
    patience: int = Field(20, ge=1)
    """Validation rounds without improvement before training stops."""

    @model_validator(mode="after")
    def _one_budget(self) -> FinetuneSettings:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of finetune.steps and finetune.epochs")
        return self

    def crop_of(self, task: Task) -> Crop:
        """Voxels of a crop of this task."""
        return task.crop if task.classifies else self.crop or task.crop

    def budget(self, shots: str, cases: int) -> int:
        """Optimizer steps for this many labelled cases."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        epochs = self.epochs.full if shots == "full" else self.epochs.few
        return math.ceil(epochs * cases / self.batch)

    def epochs_of(self, steps: int, cases: int) -> float:
        """Passes over the labelled cases that ``steps`` amount to."""
        return steps * self.batch / cases


class EvaluateSettings(_Model):
    """Sliding-window inference (paper 004: overlap 0.5)."""

    overlap: float = Field(0.5, ge=0, lt=1)
    blending: Literal["constant", "gaussian"] = "gaussian"
    batch: int = Field(4, ge=1)
    """Windows per forward pass; does not change results beyond rounding."""
    nsd_tolerance_mm: float = Field(1.0, gt=0)


class SimilaritySettings(_Model):
    """How a cell's encoder is compared before and after fine-tuning; decides no result."""

    groups: int = Field(4, ge=0)
    """Groups of test crops that CKA is averaged over; 0, or ``similarity: false``: not measured."""
    group: int = Field(16, ge=4)
    """Crops of a group: the samples of one unbiased HSIC."""
    cells: int = Field(8, ge=1)
    """Features are averaged over at most this many cells along each axis (8 in the script that
    SMIT's laboratory published)."""


class Settings(_Model):
    """All that decides a result, and how results are kept."""

    profile: str
    backbone: str
    corpus: str | None = None
    corpus_size: int | None = Field(None, ge=0)
    """Use this many volumes of the corpus; smaller subsets are inside larger ones. 0: pretrain on
    nothing, so that every method is ``scratch``."""
    exclude_leaks: bool = False
    """Leave out the corpus's volumes in which audits of the results folder found test cases."""
    draws: int = Field(1, ge=1)
    seeds: int = Field(1, ge=1)
    pretrain_seed: int = Field(0, ge=0)
    precision: Literal["auto", "bf16-mixed", "32-true"] = "auto"
    select: Literal["last", "validation"] = "last"
    keep: Literal["none", "encoder", "all"] = "encoder"
    keep_predictions: bool = False
    """Keep the label map of every test case in the record's folder; decides no result."""
    checkpoint_minutes: float = Field(5.0, gt=0)
    example_slices: int = Field(2, ge=0)
    """Test cases of each cell drawn as pictures."""
    similarity: SimilaritySettings = SimilaritySettings()
    missing_channels: Literal["none", "each", "all"] = "none"
    """Test each cell again without some of its channels: one at a time, or every set of them;
    decides no result."""
    tracking: bool = True
    pretrain: PretrainSettings
    finetune: FinetuneSettings
    evaluate: EvaluateSettings = EvaluateSettings()
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Per method, changes to its own Config."""

    @field_validator("similarity", mode="before")
    @classmethod
    def _yes_or_no(cls, value: object) -> object:
        if isinstance(value, bool):
            return SimilaritySettings() if value else SimilaritySettings(groups=0)
        return value


def profile_names() -> list[str]:
    """Names of the built-in profiles."""
    folder = resources.files("medssl_bench") / "profiles"
    order = {"demo": 0, "quick": 1, "paper": 2, "brainmvp": 3}
    names = [Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml")]
    return sorted(names, key=lambda name: (order.get(name, 9), name))


def profile_values(name: str) -> dict[str, Any]:
    """Read one profile's YAML; an unknown name is an error with the nearest offered."""
    if name not in profile_names():
        raise BenchError(
            f"unknown profile {name!r}.{did_you_mean(name, profile_names())}"
            f" Known: {', '.join(profile_names())}"
        )
    text = (resources.files("medssl_bench") / "profiles" / f"{name}.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))


def load_settings(
    profile: str, given: Mapping[str, Any] | None = None, assignments: Iterable[str] = ()
) -> Settings:
    """Build settings from a profile, then ``given`` (nested), then ``key.path=value`` texts."""
    values = profile_values(profile)
    values.pop("summary", None)
    values["profile"] = profile
    for key, value in (given or {}).items():
        _assign(values, key, value)
    for text in assignments:
        key, found, value = text.partition("=")
        if not found:
            raise BenchError(f"--set {text}: expected key.path=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise BenchError(f"--set {text}: the value is not YAML") from None
        _assign(values, key.strip(), parsed)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "tuple_type":
            message = "expected a list, such as [96, 96, 96]"
        raise BenchError(f"setting {where}: {message} (got {first.get('input')!r})") from None


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one dotted key, or each part of a mapping; a key that no setting has is refused."""
    known = setting_keys()
    if not key.startswith("methods.") and key not in known:
        raise BenchError(f"unknown setting {key!r}.{did_you_mean(key, known)}")
    if key == "profile":
        raise BenchError("setting 'profile': choose one by --profile, or `profile` in bench.yaml")
    if isinstance(value, Mapping):
        for part, inner in value.items():
            _assign(values, f"{key}.{part}", inner)
        return
    parts = key.split(".")
    target = values
    for part in parts[:-1]:
        if target.get(part) is None:
            target[part] = {}
        target = target[part]
        if not isinstance(target, dict):
            raise BenchError(f"setting {key!r}: {part!r} has no parts")
    target[parts[-1]] = value
    # The two budgets exclude each other: choosing one drops the profile's other.
    other = {"finetune.steps": "epochs", "finetune.epochs": "steps"}
    for chosen, dropped in other.items():
        if value is not None and f"{key}.".startswith(f"{chosen}."):
            values["finetune"].pop(dropped, None)


def setting_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every dotted key that ``--set`` takes."""
    keys: list[str] = []
    for name, info in model.model_fields.items():
        keys.append(prefix + name)
        for inner in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                keys += setting_keys(inner, f"{prefix}{name}.")
    return keys
