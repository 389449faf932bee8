"""Sweep files: an experiment as a list of runs, each a grid, planned together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medssl_bench.errors import BenchError, did_you_mean
from medssl_bench.tasks.yaml_file import read_mapping, validate

if TYPE_CHECKING:
    from medssl_bench.plan import Plan

GRID = (
    "profile", "backbone", "corpus", "corpus_size", "crop", "pretrain_seed", "select",
    "exclude_leaks",
)  # fmt: skip
"""What ``bench run`` takes one value of; a list of them is one run for each."""


class Run(BaseModel):
    """The words of one ``bench run``, or of several: lists make a grid."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    shots: tuple[str, ...] = ("full",)
    draws: int | None = Field(None, ge=1)
    seeds: int | None = Field(None, ge=1)
    profile: tuple[str, ...] = ()
    backbone: tuple[str, ...] = ()
    corpus: tuple[str, ...] = ()
    corpus_size: tuple[int | None, ...] = ()
    """null takes the whole corpus."""
    crop: tuple[int, ...] = ()
    """Side of cubic crops in voxels, of pretraining and fine-tuning."""
    pretrain_seed: tuple[int, ...] = ()
    select: tuple[str, ...] = ()
    exclude_leaks: tuple[bool, ...] = ()
    set: dict[str, Any] = Field(default_factory=dict)
    """Anything that ``--set`` takes: dotted keys, or nested ones."""

    @field_validator("methods", "tasks", "shots", mode="before")
    @classmethod
    def _joined_by_commas(cls, value: object) -> object:
        if isinstance(value, str | int):
            return [part.strip() for part in str(value).split(",") if part.strip()]
        return [str(part) for part in value] if isinstance(value, list) else value

    @field_validator(*GRID, mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else [value]

    def words(self) -> Iterator[dict[str, Any]]:
        """Yield the arguments of ``medssl_bench.api.make_plan`` of every run of the grid."""
        asked = {name: values for name in GRID if (values := getattr(self, name))}
        plain = {name: value for name in ("draws", "seeds") if (value := getattr(self, name))}
        for values in product(*asked.values()):
            yield {
                "methods": self.methods,
                "tasks": self.tasks,
                "shots": self.shots,
                **plain,
                **dict(zip(asked, values, strict=True)),
                "settings": dict(self.set),
            }


class Sweep(BaseModel):
    """A sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    reference: str = ""
    """What it repeats: paper and section."""
    results: Path | None = None
    """None: bench.yaml's, else ``bench-results``."""
    expected: dict[str, int | dict[str, int]] = Field(default_factory=dict)
    """Sizes that no release states: task -> ``{train: 64, test: 17}``, corpus -> cases. For
    estimates alone."""
    defaults: Run = Run()
    """Words of every run that does not say otherwise."""
    runs: tuple[Run, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _defaults_into_runs(cls, values: Any) -> Any:
        defaults, runs = values.get("defaults"), values.get("runs")
        if not isinstance(defaults, Mapping) or not isinstance(runs, list):
            return values
        merged = [
            {**defaults, **run, "set": {**(defaults.get("set") or {}), **(run.get("set") or {})}}
            if isinstance(run, Mapping)
            else run
            for run in runs
        ]
        return {**values, "runs": merged}

    @model_validator(mode="after")
    def _every_run_has_its_words(self) -> Sweep:
        for number, run in enumerate(self.runs, 1):
            for name in ("methods", "tasks"):
                if not getattr(run, name):
                    raise ValueError(f"run {number} names no {name}")
        return self

    def words(self, corpus: str | None = None) -> list[dict[str, Any]]:
        """Return the arguments of every ``make_plan``; ``corpus`` replaces that of the file."""
        found = [words for run in self.runs for words in run.words()]
        return [{**words, "corpus": corpus} for words in found] if corpus else found


@dataclass(frozen=True)
class PlannedSweep:
    """The plans of a sweep, in order; cells and pretrainings may be in several of them."""

    sweep: Sweep
    plans: list[Plan] = field(repr=False)
    root: Path
    cache: Path

    @property
    def cells(self) -> dict[str, bool]:
        """Key of every cell, once -> whether it was recorded when the plans were made."""
        return {
            planned.cell.key: planned.cell.key in plan.recorded
            for plan in self.plans
            for planned in plan.cells
        }

    @property
    def starts(self) -> dict[str, bool]:
        """Key of every pretraining and import, once -> whether it was recorded."""
        return {key: key in plan.pretrained for plan in self.plans for key in plan.starts}

    def unrecorded(self) -> frozenset[str]:
        """Keys of the cells that are not recorded by now."""
        from medssl_bench.store import Store

        store = Store(self.root, read_only=True, missing_ok=True)
        every = {cell.cell.key: cell.cell for plan in self.plans for cell in plan.cells}
        return frozenset(every) - store.recorded(every.values())


def sweep_names() -> list[str]:
    """Names of the sweeps that come with the package."""
    folder = resources.files("medssl_bench.slurm") / "sweeps"
    return sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_sweep(spec: str | Path) -> Sweep:
    """Read a sweep file: a path, or a name of :func:`sweep_names`.

    Raises:
        BenchError: An unknown name or key (the nearest is offered), or a value that does not fit;
            one line that names the file.
    """
    path = Path(spec).expanduser()
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1 and not path.is_file():
        if str(spec) not in sweep_names():
            raise BenchError(
                f"unknown sweep {str(spec)!r}.{did_you_mean(str(spec), sweep_names())} Give a file,"
                f" or one of {', '.join(sweep_names())}"
            )
        with resources.as_file(resources.files("medssl_bench.slurm") / "sweeps") as folder:
            return _read(folder / f"{spec}.yaml")
    return _read(path)


def _read(path: Path) -> Sweep:
    return validate({"name": path.stem, **read_mapping(path)}, Sweep, path)


def plan_sweep(
    sweep: Sweep,
    *,
    results: Path | None = None,
    corpus: str | None = None,
    assignments: Sequence[str] = (),
    **options: Any,
) -> PlannedSweep:
    """Plan every run of a sweep; data, headers and records that runs share are read once.

    Args:
        sweep: The sweep.
        results: Takes the place of the file's folder.
        corpus: Takes the place of the file's corpora.
        assignments: As ``--set`` takes them, of every run.
        options: ``device``, ``devices``, ``data``, ``split`` and ``plugins`` of ``make_plan``.

    Raises:
        BenchError: Something is wrong with one of them; the run is named, nothing was started.
    """
    from medssl_bench.api import make_plan
    from medssl_bench.survey import Survey

    survey, plans = Survey(), []
    every = sweep.words(corpus)
    for number, words in enumerate(every, 1):
        try:
            plan, root, cache = make_plan(
                **words,
                **options,
                assignments=assignments,
                results=results or sweep.results,
                survey=survey,
            )
        except BenchError as error:
            where = f"sweep {sweep.name}: run {number} of {len(every)}"
            raise type(error)(f"{where}: {error}") from error
        plans.append(plan)
    return PlannedSweep(sweep, plans, root, cache)
