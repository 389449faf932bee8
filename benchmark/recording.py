"""Writes what finished work leaves: pretrained encoders and records with their provenance."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from medssl_bench import provenance, registry
from medssl_bench.analysis.metrics import definitions, summarise
from medssl_bench.digest import weights_digest
from medssl_bench.peak import peak_bytes
from medssl_bench.record import Cost, Digests, Draw, Leaks, Record, Split, utc_now

if TYPE_CHECKING:
    from medssl_bench.plan import Plan, PlannedCell
    from medssl_bench.stages.evaluate import Evaluation
    from medssl_bench.stages.finetune import Tuned
    from medssl_bench.stages.pretrain import Outcome, PretrainJob
    from medssl_bench.store import Store


def record_pretraining(plan: Plan, job: PretrainJob, outcome: Outcome, store: Store) -> None:
    """Publish a pretrained encoder with all that decided it."""
    environment = provenance.environment(plan.compute.device, plan.compute.precision)
    kind = registry.methods.load(job.method)
    info: dict[str, Any] = {
        "method": job.method,
        "family": kind.family,
        "reference": kind.reference,
        "config": job.config,
        "backbone": job.backbone,
        "in_channels": 1,
        "corpus": job.corpus,
        "corpus_digest": job.corpus_digest,
        "corpus_cases": [case.id for case in plan.corpus.cases] if plan.corpus else [],
        "corpus_licence": plan.corpus.corpus.licence if plan.corpus else None,
        "settings": job.settings.model_dump(mode="json"),
        "pretrain_seed": job.seed,
        "versions": job.versions,
        "git": environment["git"] and environment["git"].model_dump(),
        "libraries": environment["libraries"],
        "machine": environment["machine"].model_dump(),
        "cost": _cost(plan, outcome.seconds, job.settings.steps, outcome.samples).model_dump(),
        "finished": utc_now().isoformat(),
        "resumed": outcome.resumed,
    }
    store.write_pretraining(job.key, info, outcome.state, pd.DataFrame(outcome.history))


def record_cell(
    plan: Plan,
    planned: PlannedCell,
    tuned: Tuned,
    result: Evaluation,
    started: datetime,
    seconds: float,
    store: Store,
) -> str:
    """Publish a finished cell; returns one line that sums it up."""
    cell, settings = planned.cell, plan.settings
    found = plan.tasks[cell.task]
    train, test = found.ids("train"), found.ids("test")
    job = plan.pretrainings.get(cell.pretraining)
    info = store.read_pretraining_info(cell.pretraining) if job else None
    network = tuned.model.state_dict()
    summary = summarise(result.cases)
    metrics = {**summary["targets"], "mean": summary["mean"]}
    record = Record(
        cell=cell,
        key=cell.key,
        profile=settings.profile,
        corpus=job.corpus if job else None,
        pretrain_seed=job.seed if job else None,
        metrics=metrics,
        definitions=definitions(settings.evaluate.nsd_tolerance_mm),
        split=Split(digest=found.split, train=train, test=test),
        draw=Draw(
            digest=planned.draw.digest,
            cases=planned.draw.train,
            validation=planned.draw.validation,
            labelled_total=planned.draw.labelled,
        ),
        digests=Digests(
            weights=weights_digest(network),
            split=found.split,
            corpus=job.corpus_digest if job else None,
            pretraining_weights=info["weights_digest"] if info else None,
        ),
        leaks=Leaks(checked=False),
        settings={
            **settings.model_dump(mode="json"),
            "task": found.task.model_dump(mode="json"),
            "data_digest": found.data,
            # Of the steps taken, which are fewer than planned where patience ran out.
            "equivalent_epochs": settings.finetune.epochs_of(tuned.steps, len(planned.draw.train)),
        },
        versions={
            "task": found.task.version,
            "method": registry.methods.load(cell.method).version,
            **{
                f"pretraining.{name}": value
                for name, value in (job.versions if job else {}).items()
            },
        },
        cost=_cost(plan, seconds, tuned.steps, tuned.samples, tuned.seconds),
        seeds={"seed": cell.seed, **({"pretrain_seed": job.seed} if job else {})},
        started=started,
        finished=utc_now(),
        resumed=tuned.resumed,
        **provenance.environment(plan.compute.device, plan.compute.precision),
    )
    pictures = {f"slices/{name}": content for name, content in result.slices.items()}
    if settings.keep == "all":
        from safetensors.torch import save

        pictures["weights.safetensors"] = save(
            {name: value.detach().cpu().contiguous() for name, value in network.items()}
        )
    store.write(record, result.cases, pd.DataFrame(tuned.history), pictures)
    mean = metrics["mean"]["dice_mean"]
    return f"Dice {mean:.3f} in {seconds:.0f} s" if mean is not None else "Dice missing"


def _cost(
    plan: Plan, seconds: float, steps: int, samples: int, train_seconds: float | None = None
) -> Cost:
    hours = seconds / 3600
    on_gpu = plan.compute.device == "cuda"
    trained = train_seconds or seconds
    return Cost(
        wall_hours=hours,
        device_hours=hours if on_gpu else 0.0,
        peak_memory_bytes=peak_bytes(plan.compute.device),
        samples_per_second=samples / trained if trained else None,
        steps=steps,
        crops=samples,
    )
