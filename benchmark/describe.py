"""A plan in words and as JSON: what will run, with which settings, and what it takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench import registry
from medssl_bench.estimate import Hours, Storage, storage_bytes
from medssl_bench.networks.compiling import resolve_compile

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.planned_data import PlannedCorpus


LEAKS_SHOWN = 5


def plan_text(
    plan: Plan,
    root: Path,
    cache: Path,
    expected: Hours,
    workers: int,
    storage: Storage | None = None,
) -> str:
    """Describe a plan in a few lines; ``storage`` where it has been reckoned already."""
    settings, compute = plan.settings, plan.compute
    storage = storage or storage_bytes(plan, cache)
    lines = [
        f"profile {settings.profile}, backbone {settings.backbone}{_own_backbones(plan)},"
        f" corpus {plan.corpus.corpus.name if plan.corpus else 'none'}"
        + (f" ({_amount(plan.corpus)})" if plan.corpus else "")
        + (f", crops {_crops(plan)}" if _crops(plan) else ""),
        f"draws {settings.draws}, seeds {settings.seeds}, pretrain seed {settings.pretrain_seed},"
        f" select {settings.select}; {compute.device}, {compute.precision}, {workers} worker"
        + ("s" if workers > 1 else ""),
    ]
    for name, found in plan.tasks.items():
        lines.append(
            f"task {name}: {len(found.ids('train'))} training and {len(found.ids('test'))} test"
            f" cases, {len(found.task.classes)} classes; split: {found.source}"
        )
    lines += _leaks(plan)
    for (task, shots), steps, epochs in _budgets(plan):
        lines.append(
            f"  {task} {shots}: {steps} steps of {settings.finetune.batch} cases"
            f" x {settings.finetune.crops_per_case} crops = {epochs:.0f} epochs"
        )
    lines += [*_first_layers(plan), *_tunings(plan)]
    for method, steps in {c.cell.method: c.steps for c in plan.cells if c.own_training}.items():
        lines.append(
            f"  {method}: {steps} steps of its own training, a protocol of its own (no gain over"
            " scratch is computed)"
        )
    scale = settings.finetune.pretrained_lr_scale
    if plan.tasks and scale != 1:
        lines.append(f"  pretrained encoders learn at {scale:g} of the learning rate")
    missing_jobs, missing = plan.missing_pretrainings, plan.missing_cells
    lines.append(
        f"pretraining: {len(missing_jobs)} to run"
        + (f" ({', '.join(job.method for job in missing_jobs)}," if missing_jobs else "")
        + (f" {settings.pretrain.steps} steps of {settings.pretrain.batch} scans"
           f"{_shared(compute.devices)} = {_pretrain_epochs(plan):.0f} epochs"
           f"{_views(plan)}{', compiled' if _compiled(plan) else ''})"
           if missing_jobs else "")
        + f", {len(plan.pretrained & plan.pretrainings.keys())} recorded"
    )  # fmt: skip
    if plan.imports:
        files = [f"{job.method} from {job.path}" for job in plan.missing_imports]
        lines.append(
            f"imports: {len(files)} to read" + (f" ({', '.join(files)})" if files else "")
            + f", {len(plan.pretrained & plan.imports.keys())} recorded"
        )  # fmt: skip
    if plan.tasks:
        lines.append(f"cells: {len(missing)} to run, {len(plan.recorded)} recorded and skipped")
    lines.append(f"time: {_time(expected, workers)}")
    lines.append(
        f"storage: at most {size_text(storage.cache)} of cache in {cache},"
        f" {size_text(storage.results)} of results in {root}"
    )
    lines += [f"warning: {text}" for text in plan.warnings[:5]]
    if len(plan.warnings) > 5:
        lines.append(f"warning: and {len(plan.warnings) - 5} more like these")
    return "\n".join(lines)


def plan_json(
    plan: Plan, root: Path, cache: Path, expected: Hours, storage: Storage | None = None
) -> dict[str, Any]:
    """Describe a plan as plain data; ``storage`` where it has been reckoned already."""
    storage = storage or storage_bytes(plan, cache)
    return {
        "results": str(root),
        "cache": str(cache),
        "settings": plan.settings.model_dump(mode="json"),
        "device": plan.compute.device,
        "precision": plan.compute.precision,
        "corpus": plan.corpus
        and {
            "name": plan.corpus.corpus.name,
            "cases": len(plan.corpus.cases),
            "volumes": sum(len(case.images) for case in plan.corpus.cases),
            "digest": plan.corpus.digest,
        },
        "tasks": {
            name: {
                "train": list(found.ids("train")),
                "test": list(found.ids("test")),
                "split": found.split,
                "leaks": _leaks_json(plan, name),
                "split_source": found.source,
            }
            for name, found in plan.tasks.items()
        },
        "pretrainings": [
            {"key": job.key, "method": job.method, "recorded": job.key in plan.pretrained}
            for job in plan.pretrainings.values()
        ],
        "imports": [
            {
                "key": job.key,
                "method": job.method,
                "backbone": job.backbone,
                "file": str(job.path),
                "sha256": job.sha256,
                "recorded": job.key in plan.pretrained,
            }
            for job in plan.imports.values()
        ],
        "cells": [
            {
                **planned.cell.model_dump(),
                "key": planned.cell.key,
                "train": list(planned.draw.train),
                "steps": planned.steps,
                "epochs": None if planned.own_training else planned.epochs,
                "own_training": planned.own_training,
                "recorded": planned.cell.key in plan.recorded,
            }
            for planned in plan.cells
        ],
        "hours": {
            "pretraining": expected.pretraining,
            "cells": expected.cells,
            "total": expected.total,
        },
        "storage_bytes": storage._asdict(),
        "warnings": list(plan.warnings),
    }


def _leaks_json(plan: Plan, task: str) -> dict[str, Any] | None:
    """Describe what the corpus shows of a task's test set; None where nothing is pretrained."""
    if task not in plan.exposures:
        return None
    found = plan.exposures[task]
    return {"checked": found.checked, "found": [asdict(leak) for leak in found.leaks]}


def _leaks(plan: Plan) -> list[str]:
    """Say which test cases the corpus shows, and which test sets nobody has looked for in it."""
    lines = []
    for name, found in plan.exposures.items():
        tested = len(plan.tasks[name].ids("test"))
        if found.cases:
            lines.append(
                f"leak: {len(found.cases)} of {tested} test cases of {name} are in the corpus;"
                " --exclude-leaks leaves those volumes out"
            )
            lines += [f"  {leak}" for leak in found.leaks[:LEAKS_SHOWN]]
            if len(found.leaks) > LEAKS_SHOWN:
                lines.append(f"  and {len(found.leaks) - LEAKS_SHOWN} more; --json has them all")
    unchecked = [name for name, found in plan.exposures.items() if not found.checked]
    if unchecked and plan.corpus is not None:
        lines.append(
            f"leaks: not looked for in {plan.corpus.corpus.name}; `bench data audit"
            f" {' '.join(unchecked)} --corpus {plan.settings.corpus}` does"
        )
    return lines


def _own_backbones(plan: Plan) -> str:
    """Name the methods that run on another backbone than the others."""
    own = [
        f"{job.method}: {job.backbone}"
        for job in plan.imports.values()
        if job.backbone != plan.settings.backbone
    ]
    return f" ({', '.join(own)})" if own else ""


def _crops(plan: Plan) -> str:
    """Sides of the crops in voxels: of pretraining, and of each task where they differ from it."""
    settings = plan.settings
    sides = {}
    if plan.pretrainings:
        sides["pretraining"] = settings.pretrain.crop
    for name, found in plan.tasks.items():
        sides[name] = settings.finetune.crop_of(found.task)
    shown = {name: "x".join(map(str, crop)) for name, crop in sides.items()}
    if len(set(shown.values())) == 1:
        return next(iter(shown.values()))
    return ", ".join(f"{crop} ({name})" for name, crop in shown.items())


def _first_layers(plan: Plan) -> list[str]:
    """Say what becomes of first layers pretrained on one channel in tasks of several."""
    several = [name for name, found in plan.tasks.items() if len(found.task.channels) > 1]
    if not several or not plan.starts:
        return []
    what = {"repeat": "is repeated over", "fresh": "starts anew for"}
    rule = what[plan.settings.finetune.channels]
    return [f"  the first layer of pretrained encoders {rule} the channels of {', '.join(several)}"]


def _tunings(plan: Plan) -> list[str]:
    """Say what methods add to the common fine-tuning, and where nothing comes of it."""
    from medssl_bench.method import Method

    def may_add(method: str) -> bool:
        kind = registry.methods.load(method)
        return kind.tuning_words.__func__ is not Method.tuning_words.__func__  # type: ignore[attr-defined]

    tuning = {job.method for job in plan.pretrainings.values() if may_add(job.method)}
    found: dict[tuple[str, str], list[str]] = {}
    for planned in plan.cells:
        cell = planned.cell
        tasks = found.setdefault((cell.method, cell.tuning), [])
        if cell.task not in tasks:
            tasks.append(cell.task)
    return [
        f"  {method}: {words or 'adds nothing'} in fine-tuning on {', '.join(tasks)}"
        for (method, words), tasks in found.items()
        if method in tuning
    ]


def _pretrain_epochs(plan: Plan) -> float:
    """Passes over the corpus that pretraining's steps amount to."""
    assert plan.corpus is not None
    pretrain = plan.settings.pretrain
    return pretrain.steps * pretrain.batch / len(plan.corpus.cases)


def _views(plan: Plan) -> str:
    """Say how near to each other a scan's crops lie, where there are several and it is limited."""
    shift = plan.settings.pretrain.view_shift
    if shift is None or not any(
        registry.methods.load(job.method).requires.views > 1 for job in plan.pretrainings.values()
    ):
        return ""
    return f", views at most {shift:g} crop sides apart"


def _compiled(plan: Plan) -> bool:
    pretrain = plan.settings.pretrain
    return resolve_compile(pretrain.compile, plan.compute.device, pretrain.steps)


def _shared(devices: int) -> str:
    return f" on {devices} devices" if devices > 1 else ""


def _budgets(plan: Plan) -> list[tuple[tuple[str, str], int, float]]:
    common = [c for c in plan.cells if not c.own_training]
    found = {(c.cell.task, c.cell.shots): (c.steps, c.epochs) for c in common}
    return [(key, steps, epochs) for key, (steps, epochs) in found.items()]


def _time(expected: Hours, workers: int) -> str:
    if expected.total is None:
        return f"unknown until measured ({expected.why})"
    hours = expected.total / workers
    if hours < 1 / 60:
        return "less than a minute, by recorded or measured costs"
    if hours < 1.5:
        return f"about {hours * 60:.0f} minutes, by recorded or measured costs"
    return f"about {hours:.1f} hours, by recorded or measured costs"


def size_text(count: int) -> str:
    """Return a number of bytes in MiB or GiB."""
    if count < 2**30:
        return f"{count / 2**20:.0f} MiB"
    return f"{count / 2**30:.1f} GiB"


def _amount(found: PlannedCorpus) -> str:
    """Return how much a corpus has: a case may have several modalities."""
    cases, volumes = len(found.cases), sum(len(case.images) for case in found.cases)
    return f"{volumes} volumes" if cases == volumes else f"{volumes} volumes of {cases} cases"
