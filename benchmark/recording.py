"""Writes what finished work leaves: pretrained encoders and records with their provenance."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from medssl_bench import provenance, registry
from medssl_bench.digest import weights_digest
from medssl_bench.imports import statement
from medssl_bench.keys import metric_definitions
from medssl_bench.label_maps import FOLDER
from medssl_bench.peak import peak_bytes
from medssl_bench.record import (
    Cell,
    Cost,
    Digests,
    Draw,
    Leaks,
    Pretrained,
    Record,
    Split,
    headline,
    utc_now,
)
from medssl_bench.records.numbers import metrics_of
from medssl_bench.records.privacy import without_folders
from medssl_bench.watch import collapsed

if TYPE_CHECKING:
    from medssl_bench.imports import ImportJob
    from medssl_bench.own_training import OwnJob, OwnResult
    from medssl_bench.plan import Plan, PlannedCell
    from medssl_bench.stages.evaluate import Evaluation
    from medssl_bench.stages.finetune import Tuned
    from medssl_bench.stages.import_encoder import Imported
    from medssl_bench.stages.missing import Missing
    from medssl_bench.stages.pretrain import Outcome, PretrainJob
    from medssl_bench.stages.similarity import Similarity
    from medssl_bench.store import Store
    from medssl_bench.training import Compute


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
        "preprocessing": {
            name: rule.model_dump(mode="json")
            for name, rule in (plan.corpus.corpus.preprocessing if plan.corpus else {}).items()
        },
        "settings": job.settings.model_dump(mode="json"),
        "views": kind.requires.views,
        "negatives": outcome.negatives,
        "devices": plan.compute.devices,
        "compiled": outcome.compiled,
        "collapsed": collapsed(outcome.history),
        "pretrain_seed": job.seed,
        "versions": job.versions,
        "git": environment["git"] and environment["git"].model_dump(),
        "libraries": environment["libraries"],
        "machine": environment["machine"].model_dump(),
        "cost": _cost(
            plan.compute,
            outcome.seconds,
            job.settings.steps,
            outcome.samples,
            outcome.peak_bytes,
            devices=plan.compute.devices,
        ).model_dump(),
        "finished": utc_now().isoformat(),
        "resumed": outcome.resumed,
    }
    store.write_pretraining(
        job.key,
        info,
        outcome.state,
        pd.DataFrame(outcome.history),
        outcome.extras,
        outcome.pictures,
    )


def record_import(plan: Plan, job: ImportJob, imported: Imported, store: Store) -> None:
    """Publish an encoder taken from a file, with what the file held and what was made of it.

    It stands where pretrainings stand and has their fields, so that cells, the page and
    ``load_encoder`` need not know the difference; ``settings`` and the history are empty.
    """
    environment = provenance.environment(plan.compute.device, plan.compute.precision)
    kind = registry.methods.load(job.method)
    weights, match = imported.weights, imported.match
    info: dict[str, Any] = {
        "method": job.method,
        "family": kind.family,
        "config": job.config,
        "backbone": job.backbone,
        "in_channels": 1,
        **statement(job.config, kind),
        "corpus_digest": None,
        "corpus_cases": [],
        "corpus_licence": None,
        "source": {
            "file": job.path.name,
            "sha256": job.sha256,
            "layout": weights.layout,
            "holder": weights.holder,
        },
        "tensors": {
            "matched": match.matched,
            "missing": match.missing,
            "unexpected": match.unexpected,
            "outside": list(weights.left_out),
        },
        "settings": {},
        "pretrain_seed": None,
        "versions": job.versions,
        "git": environment["git"] and environment["git"].model_dump(),
        "libraries": environment["libraries"],
        "machine": environment["machine"].model_dump(),
        "cost": _cost(
            plan.compute, imported.seconds, 0, 0, peak_bytes(plan.compute.device)
        ).model_dump(),
        "finished": utc_now().isoformat(),
        "resumed": 0,
    }
    points = pd.DataFrame({"step": pd.Series(dtype="int64"), "loss": pd.Series(dtype="float64")})
    store.write_pretraining(job.key, info, imported.state, points)


def record_cell(
    plan: Plan,
    planned: PlannedCell,
    tuned: Tuned,
    result: Evaluation,
    reuse: Similarity | None,
    missing: Missing | None,
    started: datetime,
    seconds: float,
    store: Store,
) -> str:
    """Publish a finished cell; returns one line that sums it up."""
    cell, settings = planned.cell, plan.settings
    found = plan.tasks[cell.task]
    train, test = found.ids("train"), found.ids("test")
    job = plan.pretrainings.get(cell.pretraining)
    start = job or plan.imports.get(cell.pretraining)
    info = store.read_pretraining_info(cell.pretraining) if start else None
    network = tuned.model.state_dict()
    metrics = metrics_of(result.cases)
    record = Record(
        cell=cell,
        key=cell.key,
        profile=settings.profile,
        corpus=info["corpus"] if info else None,
        pretrain_seed=job.seed if job else None,
        pretrained=_pretrained(info) if info and job else None,
        metrics=metrics,
        definitions=metric_definitions(found.task, settings),
        split=Split(digest=found.split, train=train, test=test, source=found.source),
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
        leaks=_leaks(plan, cell),
        settings={
            **without_folders(settings.model_dump(mode="json")),
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
                for name, value in (start.versions if start else {}).items()
            },
        },
        cost=_cost(
            plan.compute,
            seconds,
            tuned.steps,
            tuned.samples,
            peak_bytes(plan.compute.device),
            train_seconds=tuned.seconds,
        ),
        similarity=reuse.how if reuse else None,
        missing=missing.patterns if missing else (),
        seeds={"seed": cell.seed, **({"pretrain_seed": job.seed} if job else {})},
        started=started,
        finished=utc_now(),
        resumed=tuned.resumed,
        **provenance.environment(plan.compute.device, plan.compute.precision),
    )
    files = _files(result)
    if reuse:
        files |= {
            f"{name}.parquet": table.to_parquet(index=False) for name, table in reuse.tables.items()
        }
    if missing:
        files["missing.parquet"] = missing.table.to_parquet(index=False)
    if settings.keep == "all":
        from safetensors.torch import save

        files["weights.safetensors"] = save(
            {name: value.detach().cpu().contiguous() for name, value in network.items()}
        )
    store.write(record, result.cases, pd.DataFrame(tuned.history), files)
    return _in_a_line(metrics, seconds)


COMMON = {
    *("pretrain", "finetune", "select", "precision", "methods", "backbone", "keep"),
    *("corpus", "corpus_size", "pretrain_seed"),
}
"""Settings that say nothing of a method with a training of its own."""


def record_own_cell(
    plan: Plan,
    planned: PlannedCell,
    job: OwnJob,
    result: OwnResult,
    evaluation: Evaluation,
    started: datetime,
    seconds: float,
    store: Store,
) -> str:
    """Publish a cell whose method brought its own training; returns one line that sums it up.

    ``settings.own_training`` stands in the place of the common protocol's settings.
    """
    cell, found = planned.cell, plan.tasks[planned.cell.task]
    metrics = metrics_of(evaluation.cases)
    environment = provenance.environment(plan.compute.device, result.precision)
    environment["libraries"] = {**environment["libraries"], **result.libraries}
    epochs = result.samples / len(planned.draw.train)
    record = Record(
        cell=cell,
        key=cell.key,
        profile=plan.settings.profile,
        corpus=None,
        pretrain_seed=None,
        metrics=metrics,
        definitions=metric_definitions(found.task, plan.settings),
        split=Split(
            digest=found.split,
            train=found.ids("train"),
            test=found.ids("test"),
            source=found.source,
        ),
        draw=Draw(
            digest=planned.draw.digest,
            cases=planned.draw.train,
            labelled_total=planned.draw.labelled,
        ),
        digests=Digests(weights=result.weights, split=found.split),
        leaks=_leaks(plan, cell),
        settings={
            **without_folders(plan.settings.model_dump(mode="json", exclude=COMMON)),
            "evaluate": {"nsd_tolerance_mm": plan.settings.evaluate.nsd_tolerance_mm},
            "own_training": result.settings,
            "task": found.task.model_dump(mode="json"),
            "data_digest": found.data,
            "equivalent_epochs": epochs,
        },
        versions={
            "task": found.task.version,
            "method": registry.methods.load(cell.method).version,
            **result.libraries,
        },
        cost=_cost(
            plan.compute,
            seconds,
            result.steps,
            result.samples,
            result.peak_bytes,
            train_seconds=result.train_seconds,
        ),
        seeds={"seed": cell.seed},
        started=started,
        finished=utc_now(),
        resumed=result.resumed,
        **environment,
    )
    store.write(record, evaluation.cases, pd.DataFrame(result.history), _files(evaluation))
    return _in_a_line(metrics, seconds)


def _files(evaluation: Evaluation) -> dict[str, bytes]:
    """Pictures and label maps by their path in the record's folder."""
    return {
        **{f"slices/{name}": content for name, content in evaluation.slices.items()},
        **{f"{FOLDER}/{name}": content for name, content in evaluation.predictions.items()},
    }


def _in_a_line(metrics: dict[str, Any], seconds: float) -> str:
    name, value = headline(metrics)
    return f"{name} {value:.3f} in {seconds:.0f} s" if value is not None else f"{name} missing"


def _leaks(plan: Plan, cell: Cell) -> Leaks:
    """Say what of the test set the encoder has seen; without pretraining there is nothing."""
    if cell.pretraining == "none":
        return Leaks(checked=True)
    if cell.pretraining not in plan.pretrainings:
        return Leaks(checked=False)  # what a file's encoder was trained on is not known
    found = plan.exposures[cell.task]
    return Leaks(checked=found.checked, found=found.cases, evidence=tuple(map(str, found.leaks)))


def _pretrained(info: dict[str, Any]) -> Pretrained:
    """Sum up a pretraining's info for the records of its cells."""
    settings, cost = info["settings"], info["cost"]
    return Pretrained(
        steps=cost["steps"],
        batch=settings["batch"],
        views=info["views"],
        crop=settings["crop"],
        crops=cost["crops"],
        negatives=info["negatives"],
        volumes=len(info["corpus_cases"]),
        devices=info["devices"],
        collapsed=info["collapsed"],
    )


def _cost(
    compute: Compute,
    seconds: float,
    steps: int,
    samples: int,
    peak: int | None,
    train_seconds: float | None = None,
    devices: int = 1,
) -> Cost:
    hours = seconds / 3600
    trained = train_seconds or seconds
    return Cost(
        wall_hours=hours,
        device_hours=hours * devices if compute.device == "cuda" else 0.0,
        peak_memory_bytes=peak,
        samples_per_second=samples / trained if trained else None,
        steps=steps,
        crops=samples,
    )
