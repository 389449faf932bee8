"""``--calibrate``: times a few real steps of every method and task of a plan."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.estimate import Hours
from medssl_bench.preparation import open_prepared
from medssl_bench.progress import Emit, Event

if TYPE_CHECKING:
    from medssl_bench.plan import Plan, PlannedCell
    from medssl_bench.stages.pretrain import PretrainJob

STEPS = 3


def measured_hours(plan: Plan, cache: Path, emit: Emit) -> Hours:
    """Time ``STEPS`` steps (after one to warm up) of each pretraining and each task's cells.

    Fine-tuning is timed from scratch weights, which cost the same, and evaluation on one case.
    Reading a file in place of pretraining takes no time worth counting. How long cells take is not
    known where a method adds to fine-tuning what its pretraining has yet to make.
    """
    from medssl_bench.stages.missing import patterns

    pretraining = sum(
        _seconds_per_step(plan, job, cache, emit) * job.settings.steps
        for job in plan.missing_pretrainings
    )
    cells = 0.0
    kinds: dict[tuple[str, str], list[PlannedCell]] = {}
    for planned in plan.missing_cells:
        if planned.own_training or planned.cell.tuning:
            own = "a training of its own" if planned.own_training else "a part in fine-tuning"
            why = f"{planned.cell.method} has {own} that only its first cell times"
            return Hours(pretraining / 3600, None, why)
        kinds.setdefault((planned.cell.task, planned.cell.backbone), []).append(planned)
    for (task, _), mine in kinds.items():
        per_step, per_case = _cell_seconds(plan, mine[0], cache, emit)
        found = plan.tasks[task]
        again = patterns(found.task.channels, plan.settings.missing_channels)
        tests = len(found.ids("test")) * (1 + len(again))
        cells += sum(planned.steps * per_step + tests * per_case for planned in mine)
    return Hours(pretraining / 3600, cells / 3600)


def _seconds_per_step(plan: Plan, job: PretrainJob, cache: Path, emit: Emit) -> float:
    from medssl_bench.stages.pretrain import Supplies, pretrain

    assert plan.corpus is not None
    cases = plan.corpus.cases[: job.settings.batch]
    volumes = open_prepared(plan.corpus.corpus, cases, cache).take([c.id for c in cases])

    def run(steps: int) -> float:
        short = job.settings.model_copy(update={"steps": steps})
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            supplies = Supplies(volumes, Path(folder), _mine, float("inf"))
            pretrain(
                replace(job, settings=short), supplies, plan.compute, _silent, plan.request.plugins
            )
            return time.monotonic() - began

    emit(Event(f"calibrate {job.title}", note="timing"))
    first = run(1)
    seconds = (run(1 + STEPS) - min(first, run(1))) / STEPS
    emit(Event(f"calibrate {job.title}", note=f"{seconds:.2f} s per step", state="done"))
    return max(seconds, 0.0)


def _mine() -> None:
    """Nobody else works in a folder of one's own."""


def _silent(_: Event) -> None:
    """Show nothing."""


def _cell_seconds(plan: Plan, planned: PlannedCell, cache: Path, emit: Emit) -> tuple[float, float]:
    """Seconds of one fine-tuning step and of one test case."""
    from medssl_bench.stages.classify import classify
    from medssl_bench.stages.evaluate import evaluate
    from medssl_bench.stages.finetune import FinetuneJob, finetune

    found, settings = plan.tasks[planned.cell.task], plan.settings
    title = f"calibrate {planned.cell.task}"
    wanted = [planned.draw.train[0], found.ids("test")[0]]
    cases = [case for case in found.cases if case.id in wanted]
    train, test = open_prepared(found.task, cases, cache).take(wanted)

    def run(steps: int) -> tuple[float, float]:
        job = FinetuneJob(
            title=title,
            task=found.task,
            backbone=planned.cell.backbone,
            shots="1",
            seed=0,
            settings=settings.finetune.model_copy(update={"steps": steps, "epochs": None}),
            evaluation=settings.evaluate,
            select="last",
            truth=found.truth,
        )
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            tuned = finetune(
                job,
                [train],
                [],
                None,
                plan.compute,
                Path(folder),
                lambda event: None,
                lambda: None,
                float("inf"),
            )
            trained = time.monotonic()
            fabric = plan.compute.fabric()
            if found.task.classifies:
                classify(
                    tuned.model, [test], found.truth, found.task, fabric, title, lambda event: None
                )
            else:
                evaluate(
                    tuned.model, [test], found.task, job.crop, settings.evaluate, fabric, title,
                    lambda event: None, 0,
                )  # fmt: skip
            return trained - began, time.monotonic() - trained

    emit(Event(title, note="timing"))
    run(1)
    short, per_case = run(1)
    long, _ = run(1 + STEPS)
    per_step = max((long - short) / STEPS, 0.0)
    note = f"{per_step:.2f} s per step, {per_case:.2f} s per test case"
    emit(Event(title, note=note, state="done"))
    return per_step, per_case
