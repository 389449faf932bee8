"""``bench probe``: which organs do frozen features tell of, next to a random encoder's?"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medssl_bench import provenance
from medssl_bench.analysis.probe import Probed, compare, knn_scores, linear_scores, varies
from medssl_bench.digest import seed_from, weights_digest
from medssl_bench.durable import temporary_name
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.plan_checks import check_probed
from medssl_bench.preparation import open_prepared, prepare_plan
from medssl_bench.progress import Emit, Event
from medssl_bench.record import folder_name, utc_now
from medssl_bench.stages.probe import PresenceCrops, ProbeSettings, find_level, pooled_features
from medssl_bench.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medssl_bench.networks.encoder import Encoder, Level
    from medssl_bench.plan import Plan
    from medssl_bench.planned_data import PlannedTask

RANDOM = "scratch"
"""The row that gains are taken to: the random encoder that every pretraining started from."""
PROBES = ("linear", "knn")
NUMBERS = ("mean", "low", "high", "gain", "gain_low", "gain_high")


def probe_plan(
    plan: Plan, root: Path, cache: Path, settings: ProbeSettings, emit: Emit
) -> dict[str, Any]:
    """Probe a plan's recorded encoders, and the random one, on its one task.

    Both probes learn from random crops of all training cases and are scored on random crops of all
    test cases. Crops have the size that pretraining saw. An encoder on a backbone of its own is
    compared with a random one of that backbone.

    Args:
        plan: Of one task with ``full`` shots.
        root: The results folder that holds the encoders.
        cache: Of prepared volumes.
        settings: Of crops and features.
        emit: Receives progress.

    Returns:
        What ``probe.json`` holds, methods best first; missing numbers are None.

    Raises:
        BenchError: None of the encoders asked for is recorded, they do not fit level or crop, there
            is nothing to tell apart, or a case or an encoder is damaged.
    """
    check_probed("bench probe", _found(plan).task)
    rows, missing = _rows(plan)
    if missing and all(row.key is None for row in rows):
        raise BenchError(f"no encoder of {', '.join(missing)} in {root}; {how_to_get(missing)}")
    levels = {row.backbone: _level(plan, row.backbone, settings) for row in rows}
    try:
        train, test = _crops(plan, cache, settings, emit)
        found = _scores(
            plan, rows, levels, train, test, Store(root, read_only=True, missing_ok=True), emit
        )
    except CaseError as error:
        raise BenchError(str(error)) from None
    targets = [*_found(plan).task.classes.values()]
    methods = []
    for backbone in levels:
        group = {row.method: found[row] for row in rows if row.backbone == backbone}
        probed = {
            kind: compare(
                test.present,
                {name: scores[kind] for name, (scores, _) in group.items()},
                test.cases,
                RANDOM,
                seed=settings.seed,
            )
            for kind in PROBES
        }
        methods += [
            {
                "method": name,
                "backbone": backbone,
                "feature_level": asdict(levels[backbone]),
                **source,
                **{kind: _numbers(probed[kind][name], targets) for kind in PROBES},
            }
            for name, (_, source) in group.items()
        ]
    methods.sort(key=lambda row: -(row["linear"]["mean"] or 0))
    return {
        **_about(plan),
        "settings": asdict(settings),
        "crops": {"train": len(train), "test": len(test)},
        "targets": {
            name: {
                "train_crops": int(train.present[:, place].sum()),
                "test_crops": int(test.present[:, place].sum()),
            }
            for place, name in enumerate(targets)
        },
        "methods": methods,
        "missing": missing,
        "warnings": list(plan.warnings),
    }


class _Row(NamedTuple):
    """One encoder to probe."""

    method: str
    backbone: str
    key: str | None
    """Of its pretraining; None is the random encoder."""


def _rows(plan: Plan) -> tuple[list[_Row], list[str]]:
    """Return the encoders to probe, a random one of each backbone first, and what is missing."""
    if own := [planned.cell.method for planned in plan.cells if planned.own_training]:
        raise BenchError(f"{own[0]} has no pretrained encoder to probe; leave it out")
    cells = {planned.cell.method: planned.cell for planned in plan.cells}
    started = {name: cell for name, cell in cells.items() if cell.pretraining != "none"}
    missing = [name for name, cell in started.items() if cell.pretraining not in plan.pretrained]
    recorded = [
        _Row(name, cell.backbone, cell.pretraining)
        for name, cell in started.items()
        if name not in missing
    ]
    backbones = dict.fromkeys([plan.settings.backbone, *(row.backbone for row in recorded)])
    return [*(_Row(RANDOM, backbone, None) for backbone in backbones), *recorded], missing


def _level(plan: Plan, backbone: str, settings: ProbeSettings) -> Level:
    """Return the level to probe; raises BenchError where it or the crop is not the backbone's."""
    encoder, size = _random_encoder(plan, backbone), plan.settings.pretrain.crop
    if any(side % encoder.total_stride for side in size):
        raise BenchError(
            f"pretrain.crop {'x'.join(map(str, size))}: backbone {backbone} needs sides that are"
            f" multiples of {encoder.total_stride}; change the crop, or probe its method alone"
        )
    return find_level(encoder, settings.level)


def _scores(
    plan: Plan,
    rows: Sequence[_Row],
    levels: Mapping[str, Level],
    train: PresenceCrops,
    test: PresenceCrops,
    store: Store,
    emit: Emit,
) -> dict[_Row, tuple[dict[str, NDArray[np.float64]], dict[str, Any]]]:
    """Return for each encoder the scores ``(n, L)`` of both probes, and what it was."""
    fabric, title = plan.compute.fabric(), f"probe {_found(plan).task.name}"
    found = {}
    for number, row in enumerate(rows):
        emit(Event(title, number, len(rows), row.method))
        encoder = _random_encoder(plan, row.backbone)
        if row.key is not None:
            encoder.load_state_dict(store.read_weights(row.key))
            source_of = store.read_pretraining_info(row.key)
        source: dict[str, Any] = {
            "pretraining": row.key,
            "weights_digest": weights_digest(encoder.state_dict()),
            # A probe does not see it: it standardises features that hardly differ.
            "collapsed": None if row.key is None else source_of.get("collapsed"),
        }
        encoder.to(fabric.device)
        seen, asked = (
            pooled_features(
                encoder,
                crops.batches(plan.settings.evaluate.batch),
                levels[row.backbone],
                fabric,
            )
            for crops in (train, test)
        )
        linear, source["strength"] = linear_scores(seen, train.present, train.patients, asked)
        found[row] = {"linear": linear, "knn": knn_scores(seen, train.present, asked)}, source
    emit(Event(title, len(rows), len(rows), state="done"))
    return found


def how_to_get(missing: Sequence[str]) -> str:
    """Say which command makes the pretrainings that are missing."""
    return f"`bench pretrain --methods {','.join(missing)}`, with the same options, makes them"


def _found(plan: Plan) -> PlannedTask:
    (found,) = plan.tasks.values()
    return found


def _random_encoder(plan: Plan, backbone: str) -> Encoder:
    """Build the encoder that every pretraining of the plan on this backbone started from."""
    import torch

    from medssl_bench.networks import build_encoder

    torch.manual_seed(seed_from(plan.settings.pretrain_seed, "encoder"))
    return build_encoder(backbone, in_channels=len(_found(plan).task.channels))


def _crops(
    plan: Plan, cache: Path, settings: ProbeSettings, emit: Emit
) -> tuple[PresenceCrops, PresenceCrops]:
    """Prepare the task's cases and choose the crops of training and of test."""
    found = _found(plan)
    # As if everything but the cells were recorded, so that their cases alone are prepared.
    only_cells = replace(
        plan, recorded=frozenset(), pretrained=frozenset({*plan.pretrainings, *plan.imports})
    )
    prepare_plan(only_cells, cache, emit)
    prepared = open_prepared(found.task, found.cases, cache)
    size = plan.settings.pretrain.crop
    train, test = (
        PresenceCrops(prepared.take(found.ids(pool)), len(found.task.classes), size, settings)
        for pool in ("train", "test")
    )
    if not (varies(train.present) & varies(test.present)).any():
        raise BenchError(
            f"{found.task.name}: no organ is in some crops of {'x'.join(map(str, size))} voxels"
            " and missing in others; change the crop or the share"
        )
    return train, test


def _numbers(probed: Probed, targets: Sequence[str]) -> dict[str, Any]:
    """Return one probe of one encoder as plain data."""
    return {
        **{name: _plain(getattr(probed, name)) for name in NUMBERS},
        "targets": {
            name: _plain(value) for name, value in zip(targets, probed.targets, strict=True)
        },
    }


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _about(plan: Plan) -> dict[str, Any]:
    """Return what decided the numbers besides the probe's own settings, and where they are from."""
    found = _found(plan)
    environment = provenance.environment(plan.compute.device, plan.compute.precision)
    return {
        "task": found.task.name,
        "task_version": found.task.version,
        "split": found.split,
        "cases": {"train": len(found.ids("train")), "test": len(found.ids("test"))},
        "backbone": plan.settings.backbone,
        "profile": plan.settings.profile,
        "corpus": plan.corpus.corpus.name if plan.corpus else None,
        "pretrain_seed": plan.settings.pretrain_seed,
        "crop": list(plan.settings.pretrain.crop),
        "git": environment["git"] and environment["git"].model_dump(),
        "libraries": environment["libraries"],
        "machine": environment["machine"].model_dump(),
        "finished": utc_now().isoformat(),
    }


def write_probe(document: Mapping[str, Any], root: Path) -> Path:
    """Write ``probe.json`` and ``probe.csv`` and return their folder below ``root``.

    The folder is the task's and the backbone's; what is there from an earlier probe is replaced.
    The CSV has one row for each (method, target), with a target ``mean`` that has the intervals.

    Raises:
        BenchError: The files cannot be written.
    """
    name = f"{folder_name(document['task'])}_{folder_name(document['backbone'])}"
    folder = root / "probe" / name
    contents = {
        "probe.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
        "probe.csv": _csv(document),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in contents.items():
            temporary = temporary_name(folder / file)
            temporary.write_text(text, "utf-8")
            temporary.replace(folder / file)
    except OSError as error:
        raise BenchError(f"{folder}: cannot be written ({error.strerror})") from None
    return folder


def _csv(document: Mapping[str, Any]) -> str:
    import pandas as pd

    rows = []
    for row in document["methods"]:
        same = {key: row[key] for key in ("method", "backbone", "pretraining")}
        for target in ["mean", *document["targets"]]:
            numbers: dict[str, float | None] = {}
            for kind in PROBES:
                if target == "mean":
                    numbers[f"{kind}_auc"] = row[kind]["mean"]
                    numbers |= {f"{kind}_{name}": row[kind][name] for name in NUMBERS[1:]}
                else:
                    numbers[f"{kind}_auc"] = row[kind]["targets"][target]
            rows.append({**same, "target": target, **numbers})
    text: str = pd.DataFrame(rows).to_csv(index=False)
    return text
