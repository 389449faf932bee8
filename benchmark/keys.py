"""What decides a pretraining and a protocol, and the keys made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from medssl_bench import registry
from medssl_bench.config import Settings
from medssl_bench.digest import digest
from medssl_bench.errors import BenchError, UnsuitedError, did_you_mean

if TYPE_CHECKING:
    from medssl_bench.planned_data import PlannedCorpus, PlannedTask
    from medssl_bench.stages.pretrain import PretrainJob
    from medssl_bench.task import Task
    from medssl_bench.training import Compute

PLAN_VERSION = 1
"""Part of every key; raised when the harness itself would give other results."""

UNDECIDING = {"probe", "probe_every", "compile"}
"""Settings of pretraining that decide nothing but how it is followed and its last bits."""


def pretrain_job(
    name: str, settings: Settings, corpus: PlannedCorpus, compute: Compute
) -> PretrainJob:
    """Return the pretraining of a method, with the key of all that decides its weights.

    Raises:
        BenchError: Batch, devices, settings, crop or backbone do not suit the method.
        UnsuitedError: It cannot learn from this corpus.
    """
    from medssl_bench.stages.pretrain import PretrainJob

    kind = registry.methods.load(name)
    if settings.pretrain.batch < kind.requires.min_batch:
        raise BenchError(
            f"{name} needs a batch of at least {kind.requires.min_batch};"
            f" pretrain.batch is {settings.pretrain.batch}"
        )
    if kind.requires.min_batch > 1 and len(corpus.cases) < settings.pretrain.batch:
        raise BenchError(
            f"{name} tells the scans of a step from each other: pretrain.batch"
            f" {settings.pretrain.batch} needs as many scans, the corpus has {len(corpus.cases)}"
        )
    if settings.pretrain.batch % compute.devices:
        raise BenchError(
            f"pretrain.batch {settings.pretrain.batch} cannot be shared by {compute.devices}"
            " devices; choose a multiple of their number"
        )
    config = method_config(name, settings.methods.get(name, {}))
    config.pop("tuning", None)
    backbone = registry.backbones.entry(settings.backbone).info
    versions = {
        "plan": PLAN_VERSION,
        "method": kind.version,
        "backbone": int(backbone.get("version", 1)),
        "corpus": corpus.corpus.version,
        "preprocessing": _preprocessing_version(),
    }
    decides = {
        "method": name,
        "config": config,
        "backbone": settings.backbone,
        "corpus": corpus.digest,
        "settings": settings.pretrain.model_dump(mode="json", exclude=UNDECIDING),
        "precision": compute.precision,
        "seed": settings.pretrain_seed,
        "versions": versions,
    }
    job = PretrainJob(
        key=digest(decides),
        method=name,
        config=config,
        backbone=settings.backbone,
        corpus=corpus.corpus.name,
        corpus_digest=corpus.digest,
        settings=settings.pretrain,
        seed=settings.pretrain_seed,
        versions=versions,
    )
    _check_method(job, corpus)
    return job


def _check_method(job: PretrainJob, corpus: PlannedCorpus) -> None:
    """Have the method refuse a crop, backbone, setting or case now, not after preparation."""
    import torch

    from medssl_bench.stages.pretrain import build_method

    try:
        try:
            with torch.device("meta"):  # shapes only, no memory
                method = build_method(job)
        except (NotImplementedError, RuntimeError):
            method = build_method(job)  # it needs real numbers
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"method {job.method} cannot be built: {type(error).__name__}: {error}"
        ) from error
    kinds = {tuple(case.images) for case in corpus.cases}
    faults = {kind: fault for kind in kinds if (fault := method.fault_of(kind))}
    found = [case for case in corpus.cases if tuple(case.images) in faults]
    if found:
        more = f" (and {len(found) - 1} more cases)" if len(found) > 1 else ""
        raise UnsuitedError(
            f"{job.method} on corpus {corpus.corpus.name}: case {found[0].id}:"
            f" {faults[tuple(found[0].images)]}{more}"
        )


def method_config(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate changes to a method's Config and return the whole of it.

    Raises:
        BenchError: An unknown key (the nearest is offered) or a value of the wrong type.
    """
    from pydantic import TypeAdapter, ValidationError

    kind = registry.methods.load(name).Config
    _check_names(kind(), values, f"methods.{name}")
    try:
        return asdict(TypeAdapter(kind).validate_python(dict(values)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BenchError(f"setting methods.{name}.{where}: {first['msg']}") from None


def _check_names(defaults: Any, values: Mapping[str, Any], place: str) -> None:
    """Raise BenchError at a name that is no setting, in a group of settings too."""
    known = [item.name for item in fields(defaults)]
    for key, value in values.items():
        path = f"{place}.{key}"
        if key not in known:
            near = did_you_mean(path, [f"{place}.{item}" for item in known])
            raise BenchError(f"unknown setting {path!r}.{near}")
        group = getattr(defaults, key)
        if is_dataclass(group) and isinstance(value, Mapping):
            _check_names(group, value, path)


def protocol_digest(found: PlannedTask, settings: Settings, precision: str, backbone: str) -> str:
    """Digest of everything that decides a result and is not a field of the cell."""
    words = {"summary", "licence", "access", "needs_data", "expected", "groups"}
    # What a task or the settings leave as it was before there was such a thing, so that the digest
    # stays, too.
    optional = ("regions", "balanced", "contrasts")
    words |= {name for name in optional if not getattr(found.task, name)}
    info = registry.backbones.entry(backbone).info
    return digest(
        {
            "plan": PLAN_VERSION,
            "task": found.task.model_dump(mode="json", exclude=words),
            "data": found.data,
            **common_words({**settings.model_dump(mode="json"), "precision": precision}),
            "backbone": int(info.get("version", 1)),
            "preprocessing": _preprocessing_version(),
            "metrics": metric_definitions(found.task, settings),
        }
    )


def common_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a record that decide results and are the same for every task.

    Left out is what decides nothing: how many windows are inferred at a time, validation where the
    last weights are taken, and what is as it was before it could be set.
    """
    finetune = dict(settings.get("finetune") or {})
    if finetune.get("channels") == "repeat":
        del finetune["channels"]
    augmentation = finetune.get("augmentation") or {}
    if augmentation and not augmentation.get("flip"):
        without = {"flip", "flip_jointly"}
        finetune["augmentation"] = {k: v for k, v in augmentation.items() if k not in without}
    if settings.get("select") == "last":
        for name in ("validation_cases", "validation_every", "patience"):
            finetune.pop(name, None)
    evaluate = dict(settings.get("evaluate") or {})
    evaluate.pop("batch", None)
    return {
        "finetune": finetune,
        "evaluate": evaluate,
        "select": settings.get("select"),
        "precision": settings.get("precision"),
    }


def metric_definitions(task: Task, settings: Settings) -> dict[str, str]:
    """Name the definition of every metric of a task."""
    if task.classifies:
        from medssl_bench.analysis import classification

        return classification.definitions([*task.classes.values()])
    from medssl_bench.analysis import metrics

    return metrics.definitions(settings.evaluate.nsd_tolerance_mm)


def own_protocol_digest(
    found: PlannedTask, settings: Settings, decides: Mapping[str, Any], version: int
) -> str:
    """Digest of what decides the result of a method that brings a training of its own.

    The common fine-tuning is no part of it, so it never equals the protocol of another method.
    """
    of_ours = {"preprocessing", "crop", "kind", "groups", "expected", "contrasts"}
    words = {"summary", "licence", "access", "needs_data", *of_ours}
    return digest(
        {
            "plan": PLAN_VERSION,
            "task": found.task.model_dump(mode="json", exclude=words),
            "data": found.data,
            "own_training": dict(decides),
            "version": version,
            "preprocessing": _preprocessing_version(),
            "metrics": metric_definitions(found.task, settings),
        }
    )


def _preprocessing_version() -> str:
    from medssl_bench.data.entry import VERSION

    return str(VERSION)
