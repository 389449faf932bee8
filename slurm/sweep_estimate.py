"""What a sweep will take, from declared sizes alone: its data need not be there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from medssl_bench import registry
from medssl_bench.describe import size_text
from medssl_bench.digest import digest
from medssl_bench.draws import Shots
from medssl_bench.estimate import BYTES_PER_RECORD, weight_bytes
from medssl_bench.keys import UNDECIDING, common_words, method_config

if TYPE_CHECKING:
    from medssl_bench.config import Settings
    from medssl_bench.method import Method
    from medssl_bench.slurm.sweep import Sweep
    from medssl_bench.store import Store
    from medssl_bench.task import Task

UNKNOWN = "unknown until measured"


@dataclass(frozen=True)
class Pretraining:
    """A pretraining of a sweep, or a file that is read in place of one (of 0 steps)."""

    method: str
    backbone: str
    crop: tuple[int, int, int] | None
    steps: int
    crops: int


@dataclass(frozen=True)
class Training:
    """The training of a cell; its length is None where no size of its training set is declared."""

    task: str
    backbone: str
    crop: tuple[int, int, int] | None
    steps: int | None
    crops: int | None
    keeps_weights: bool
    tuned: bool = False
    """Whether its method adds to the common fine-tuning, which takes longer then."""


@dataclass
class Estimate:
    """Everything that a sweep holds, each once."""

    sweep: Sweep
    pretrainings: dict[str, Pretraining] = field(default_factory=dict)
    cells: dict[str, Training] = field(default_factory=dict)
    cases: dict[str, int | None] = field(default_factory=dict)
    """Task or corpus -> cases that are prepared; None: not declared."""
    costs: Costs | None = None

    @property
    def backbones(self) -> list[str]:
        """Every backbone, in order of appearance."""
        parts: list[Pretraining | Training] = [*self.pretrainings.values(), *self.cells.values()]
        return list(dict.fromkeys(part.backbone for part in parts))

    def hours(self, backbone: str) -> float | None:
        """GPU-hours of one backbone by recorded costs; None where some kind has none."""
        parts: list[Pretraining | Training] = [
            *(part for part in self.pretrainings.values() if part.steps),
            *self.cells.values(),
        ]
        if self.costs is None:
            return None
        each = [self.costs.of(part) for part in parts if part.backbone == backbone]
        return None if None in each else sum(filter(None, each))

    @property
    def results_bytes(self) -> int:
        """Most that the results folder takes, work under way included."""
        known = registry.backbones.entries()
        starts = [part.backbone for part in self.pretrainings.values() if part.backbone in known]
        kept = [p.backbone for p in self.cells.values() if p.keeps_weights and p.backbone in known]
        trained = [part.backbone for part in self.cells.values() if part.backbone in known]
        # A checkpoint holds weights and two moments in float32, twice (the last two are kept).
        running = 2 * 3 * max(map(weight_bytes, starts + trained), default=0)
        weights = sum(map(weight_bytes, starts + kept))
        return running + weights + len(self.cells) * BYTES_PER_RECORD

    def text(self) -> str:
        """Return the lines, each of which is a comment of YAML."""
        trained = sum(1 for part in self.pretrainings.values() if part.steps)
        files = len(self.pretrainings) - trained
        lines = [
            f"{_many(len(self.cells), 'cell')} after {_many(trained, 'pretraining')}"
            + (f" and {_many(files, 'file')} of published weights" if files else "")
            + f" (bench sweep {self.sweep.name} --estimate)",
            *(line for backbone in self.backbones for line in self._of(backbone)),
            f"storage: at most {size_text(self.results_bytes)} of results; cache unknown without"
            f" the data: {self._shown_cases()}",
        ]
        return "\n".join(f"# {line}" for line in lines)

    def as_json(self) -> dict[str, Any]:
        """Describe it as plain data."""
        return {
            "sweep": self.sweep.name,
            "cells": len(self.cells),
            "pretrainings": sum(1 for part in self.pretrainings.values() if part.steps),
            "imports": sum(1 for part in self.pretrainings.values() if not part.steps),
            "backbones": {
                name: {
                    "pretraining_steps": _sum(p.steps for p in self._starts(name)),
                    "pretraining_crops": _sum(p.crops for p in self._starts(name)),
                    "cells": len(self._cells(name)),
                    "steps": _sum(p.steps for p in self._cells(name)),
                    "crops": _sum(p.crops for p in self._cells(name)),
                    "gpu_hours": self.hours(name),
                }
                for name in self.backbones
            },
            "gpu": self.costs.device if self.costs else None,
            "results_bytes": self.results_bytes,
            "cases": self.cases,
        }

    def _starts(self, backbone: str) -> list[Pretraining]:
        return [part for part in self.pretrainings.values() if part.backbone == backbone]

    def _cells(self, backbone: str) -> list[Training]:
        return [part for part in self.cells.values() if part.backbone == backbone]

    def _of(self, backbone: str) -> Iterator[str]:
        starts = [part for part in self._starts(backbone) if part.steps]
        cells = self._cells(backbone)
        if starts:
            yield (
                f"{backbone}: {_many(len(starts), 'pretraining')},"
                f" {_total(p.steps for p in starts)} steps, {_total(p.crops for p in starts)} crops"
            )
        if cells:
            unsaid = sorted({part.task for part in cells if part.steps is None})
            more = f", and those of {', '.join(unsaid)}, of no declared size" if unsaid else ""
            yield (
                f"{backbone}: {_many(len(cells), 'cell')}, {_total(p.steps for p in cells)} steps,"
                f" {_total(p.crops for p in cells)} crops{more}"
            )
        hours = self.hours(backbone)
        if hours is None or self.costs is None:
            yield f"{backbone}: GPU-hours {UNKNOWN}"
        else:
            yield f"{backbone}: GPU-hours about {hours:,.1f} on {self.costs.device}"

    def _shown_cases(self) -> str:
        known = sum(count for count in self.cases.values() if count is not None)
        unsaid = [name for name, count in self.cases.items() if count is None]
        more = f" and all of {', '.join(unsaid)}" if unsaid else ""
        return f"{known:,} cases{more}"


@dataclass(frozen=True)
class Costs:
    """GPU-hours that recorded work took on one kind of GPU."""

    device: str
    per_crop: dict[tuple[str, str, str], float]
    """(method, backbone, crop) -> GPU-hours of one crop of a pretraining."""
    per_cell: dict[tuple[str, str, str, int, bool], float]
    """(backbone, task, crop, steps, tuned) -> GPU-hours of a cell, its evaluation included."""

    def of(self, part: Pretraining | Training) -> float | None:
        """GPU-hours of a pretraining, scaled by its crops, or of a cell of the same steps."""
        if isinstance(part, Pretraining):
            each = self.per_crop.get((part.method, part.backbone, str(part.crop)))
            return None if each is None else each * part.crops
        if part.steps is None:
            return None
        kind = (part.backbone, part.task, str(part.crop), part.steps, part.tuned)
        return self.per_cell.get(kind)


def recorded_costs(store: Store) -> Costs | None:
    """Sum up what GPU work in a results folder took; of several GPUs the one with most of it."""
    crops: dict[str, dict[tuple[str, str, str], list[float]]] = {}
    cells: dict[str, dict[tuple[str, str, str, int, bool], list[float]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged records only make the estimate poorer here
        for info in store.pretrainings():
            cost, settings = info["cost"], info["settings"]
            if cost["device_hours"] and cost["crops"]:
                start = (info["method"], info["backbone"], _crop(settings.get("crop")))
                each = cost["device_hours"] / cost["crops"]
                crops.setdefault(info["machine"]["device"], {}).setdefault(start, []).append(each)
        for record in store.records():
            if record.cost.device_hours:
                finetune: Any = record.settings.get("finetune") or {}
                crop = _crop(finetune.get("crop"))
                cell = record.cell
                kind = (cell.backbone, cell.task, crop, record.cost.steps, bool(cell.tuning))
                mine = cells.setdefault(record.machine.device, {})
                mine.setdefault(kind, []).append(record.cost.device_hours)
    counts = {
        device: sum(map(len, crops.get(device, {}).values()))
        + sum(map(len, cells.get(device, {}).values()))
        for device in {*crops, *cells}
    }
    if not counts:
        return None
    device = max(sorted(counts), key=counts.__getitem__)
    return Costs(
        device,
        {key: median(values) for key, values in crops.get(device, {}).items()},
        {key: median(values) for key, values in cells.get(device, {}).items()},
    )


def estimate_sweep(
    sweep: Sweep, store: Store | None = None, corpus: str | None = None,
    assignments: Sequence[str] = (),
) -> Estimate:  # fmt: skip
    """Count what a sweep holds; ``store`` gives the costs of earlier work.

    Raises:
        BenchError: An unknown name or setting.
    """
    from medssl_bench.api import make_settings
    from medssl_bench.workspace import load_workspace

    estimate = Estimate(sweep, costs=recorded_costs(store) if store is not None else None)
    workspace = load_workspace()
    for words in sweep.words(corpus):
        asked = {name: value for name, value in words.items() if name not in _NAMES}
        settings = make_settings(workspace, **asked, assignments=assignments)
        _count(estimate, settings, words)
    return estimate


_NAMES = ("methods", "tasks", "shots")


def _count(estimate: Estimate, settings: Settings, words: dict[str, Any]) -> None:
    """Add what one run holds."""
    from medssl_bench.tasks import load_tasks

    methods = list(
        dict.fromkeys(name for asked in words["methods"] for name in registry.methods.match(asked))
    )
    tasks = load_tasks(words["tasks"])
    kinds = {name: registry.methods.load(name) for name in methods}
    if settings.corpus_size == 0:
        methods = list(dict.fromkeys("scratch" if kinds[m].requires.trains else m for m in methods))
    starts = {name: _start(estimate, name, settings) for name in methods}
    for task in tasks:
        pool, scans = _sizes(task, estimate.sweep)
        estimate.cases[task.name] = scans
        for text in dict.fromkeys(Shots.parse(text).text for text in words["shots"]):
            draws = Shots.parse(text).draws(settings.draws)
            for name in methods:
                kind, (key, backbone) = registry.methods.load(name), starts[name]
                config = method_config(name, settings.methods.get(name, {}))
                added = _tuning_words(kind, config, task, settings)
                training = replace(
                    _training(task, settings, text, pool, backbone), tuned=bool(added)
                )
                if kind.requires.own_training:
                    training = replace(
                        training, backbone=kind.network, crop=None, steps=kind.budget(config),
                        crops=None,
                    )  # fmt: skip
                protocol = common_words(settings.model_dump(mode="json"))
                same = [name, key, backbone, task.name, text, protocol, added]
                for draw in draws:
                    for seed in range(settings.seeds):
                        estimate.cells[digest([*same, draw, seed])] = training


def _start(estimate: Estimate, method: str, settings: Settings) -> tuple[str, str]:
    """Add the pretraining or import of a method; returns its key and the backbone of its cells."""
    kind = registry.methods.load(method)
    config = method_config(method, settings.methods.get(method, {}))
    if kind.requires.file:
        backbone = config.get("backbone") or settings.backbone
        key = digest([method, config])
        estimate.pretrainings[key] = Pretraining(method, backbone, None, 0, 0)
        return key, backbone
    if not kind.requires.trains:
        return "none", settings.backbone
    config.pop("tuning", None)  # of fine-tuning alone
    rule = settings.pretrain
    decides = rule.model_dump(mode="json", exclude=UNDECIDING)
    key = digest(
        [method, config, settings.backbone, settings.corpus, settings.corpus_size, decides,
         settings.precision, settings.pretrain_seed, settings.exclude_leaks]
    )  # fmt: skip
    crops = rule.steps * rule.batch * kind.requires.views
    estimate.pretrainings[key] = Pretraining(
        method, settings.backbone, rule.crop, rule.steps, crops
    )
    corpus = settings.corpus or "a corpus that is not named"
    before = estimate.cases.get(corpus, 0)
    size = settings.corpus_size or _corpus_size(corpus, estimate.sweep)
    estimate.cases[corpus] = None if size is None or before is None else max(size, before)
    return key, settings.backbone


def _tuning_words(
    kind: type[Method], config: dict[str, Any], task: Task, settings: Settings
) -> str:
    """Say what a method adds to fine-tuning where it met all of the task's contrasts before."""
    if kind.requires.own_training or not kind.requires.trains:
        return ""
    contrasts = task.known_contrasts
    return kind.tuning_words(config, contrasts, contrasts, settings.finetune.crop_of(task))


def _training(
    task: Task, settings: Settings, shots: str, pool: int | None, backbone: str
) -> Training:
    """Return the training of a cell with the common fine-tuning."""
    parsed, finetune = Shots.parse(shots), settings.finetune
    held_out = finetune.validation_cases if settings.select == "validation" else 0
    cases: int | None
    if parsed.is_full:
        cases = None if pool is None else pool - held_out
    elif shots.endswith("%"):
        cases = None if pool is None else parsed.count(pool)
    else:
        cases = parsed.count(pool or 0)
    known = cases if cases is not None else 1 if finetune.steps is not None else None
    steps = None if known is None else finetune.budget(shots, known)
    return Training(
        task=task.name,
        backbone=backbone,
        crop=finetune.crop,
        steps=steps,
        crops=None if steps is None else steps * finetune.batch * finetune.crops_per_case,
        keeps_weights=settings.keep == "all",
    )


def _sizes(task: Task, sweep: Sweep) -> tuple[int | None, int | None]:
    """Training cases of a task, and its cases in all, as declared; None where they are not."""
    declared = sweep.expected.get(task.name) or task.expected
    if not declared and not task.needs_data:
        declared = registry.tasks.entry(task.name).info
    if not isinstance(declared, dict):
        return None, None
    train, test = declared.get("train"), declared.get("test")
    return train, None if train is None or test is None else train + test


def _corpus_size(corpus: str, sweep: Sweep) -> int | None:
    declared = sweep.expected.get(corpus)
    if isinstance(declared, int):
        return declared
    entry = registry.corpora.entries().get(corpus.partition(":")[0])
    found = entry.info.get("cases") if entry is not None else None
    return int(found) if found is not None else None


def _crop(crop: Sequence[int] | None) -> str:
    return str(None if crop is None else tuple(crop))


def _sum(values: Iterator[int | None]) -> int:
    return sum(value for value in values if value is not None)


def _total(values: Iterator[int | None]) -> str:
    return f"{_sum(values):,}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
