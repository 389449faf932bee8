"""The card of an exported encoder: where it is from, what it saw, what it scored."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl_bench.store import Store

MISSING = "missing"


def write_card(
    store: Store, info: Mapping[str, Any], usage: str, differences: Sequence[str]
) -> str:
    """Describe a recorded encoder in Markdown.

    Args:
        store: The results folder that it is from; its records give the scores.
        info: ``pretraining.json``.
        usage: How to load the exported file, as Markdown.
        differences: What the other side's network does not share, a sentence each.
    """
    title = f"# {info['method']} on {info['backbone']}"
    parts = [title, _origin(info), "## Use", usage]
    if differences:
        parts += ["## What differs", "\n".join(f"- {text}" for text in differences)]
    parts += [
        "## Input", _input(info), "## Cost", _cost(info), "## Scores", _scores(store, info),
        "## Settings", _settings(info),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _origin(info: Mapping[str, Any]) -> str:
    source = info.get("source")
    cases = len(info["corpus_cases"])
    rows = {
        "Method": f"{info['method']} ({info['family']})",
        "Reference": info["reference"],
        "Corpus": info["corpus"] + (f", {cases} scans" if cases else ""),
        "Corpus digest (SHA-256)": info["corpus_digest"],
        "Licence of the corpus": info["corpus_licence"],
        "Pretraining seed": info["pretrain_seed"],
        "Key of the pretraining": info["key"],
        "Weights digest (SHA-256)": info["weights_digest"],
        "Finished": info["finished"],
    }
    if source is not None:
        rows |= {
            "Taken from": f"`{source['file']}`, layout {source['layout']}",
            "File digest (SHA-256)": source["sha256"],
            "Licence of the weights": info["licence"],
        }
    return _table(("", ""), [(name, MISSING if v is None else v) for name, v in rows.items()])


def _input(info: Mapping[str, Any]) -> str:
    rules: dict[str, list[str]] = {}
    for modality, rule in (info.get("preprocessing") or {}).items():
        rules.setdefault(_json(rule), []).append(modality)
    count = sum(map(len, rules.values()))
    which = f", one of {count} modalities at a time," if count > 1 else ""
    words = f"{info['in_channels']} channel{which} in [0, 1], axes R, A, S."
    if not rules:
        return f"{words} How pretraining prepared its scans: {MISSING}."
    told = [f"{', '.join(names)}:\n\n{rule}" for rule, names in rules.items()]
    return "\n\n".join([f"{words} Pretraining prepared its scans so:", *told])


def _cost(info: Mapping[str, Any]) -> str:
    cost, machine = info["cost"], info["machine"]
    return _table(
        ("Wall hours", "Device hours", "Steps", "Crops seen", "Device", "Precision"),
        [
            (
                f"{cost['wall_hours']:.3f}", f"{cost['device_hours']:.3f}", cost["steps"],
                cost["crops"], machine["device"], machine["precision"],
            )
        ],
    )  # fmt: skip


def _scores(store: Store, info: Mapping[str, Any]) -> str:
    """One row for each cell that was recorded from this encoder in the same results folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `bench status` names damaged records
        records = [r for r in store.records() if r.cell.pretraining == info["key"]]
    if not records:
        return f"{MISSING}: no cell was recorded from this encoder in its results folder."
    segmented: list[tuple[object, ...]] = []
    classified: list[tuple[object, ...]] = []
    for record in sorted(records, key=lambda r: (r.cell.task, r.cell.shots, r.cell.draw)):
        cell, metrics = record.cell, record.metrics
        what = (cell.task, cell.shots, cell.draw, cell.seed)
        if "auc" in metrics.get("all", {}):
            found = [_number(metrics["all"][name], 3) for name in ("auc", "accuracy", "f1")]
            classified.append((*what, *found, cell.protocol[:8]))
        else:
            mean = metrics["mean"]
            dice, hd95 = _number(mean["dice_mean"], 3), _number(mean["hd95_mean"], 1)
            segmented.append((*what, dice, hd95, cell.protocol[:8]))
    who = ("Task", "Shots", "Draw", "Seed")
    tables = {
        (*who, "Dice", "HD95 (mm)", "Protocol"): segmented,
        (*who, "AUC", "Accuracy", "F1", "Protocol"): classified,
    }
    return "\n\n".join(_table(head, rows) for head, rows in tables.items() if rows)


def _settings(info: Mapping[str, Any]) -> str:
    git = info["git"]
    return _json(
        {
            "method": info["config"],
            "pretrain": info["settings"],
            "versions": info["versions"],
            "git": git and {**git},
            "libraries": info["libraries"],
        }
    )


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=1)}\n```"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
