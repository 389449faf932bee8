"""A section for each method and each task: what it is, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medssl_bench import registry
from medssl_bench.analysis.leaderboard.marks import Mark, row_labels, short
from medssl_bench.analysis.leaderboard.overview import rank_values, score
from medssl_bench.analysis.leaderboard.provenance import duration
from medssl_bench.analysis.leaderboard.standings import Key, Standing
from medssl_bench.analysis.leaderboard.views import Row, Table, Value, shots_text
from medssl_bench.analysis.tables import ROW, rows_of, shots_order
from medssl_bench.errors import BenchError


@dataclass(frozen=True)
class Subject:
    """What the page says of one method or one task."""

    name: str
    summary: str
    facts: Mapping[str, str]
    tables: Sequence[Table] = ()


def families() -> dict[str, str]:
    """Return the family of each known method."""
    return {
        name: str(entry.info.get("family", "unknown"))
        for name, entry in registry.methods.entries().items()
    }


def modalities(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the modality of each task, as recorded."""
    return {
        record["cell"]["task"]: str(record["settings"].get("task", {}).get("modality", ""))
        for record in records
    }


def method_subjects(
    board: pd.DataFrame,
    standings: Mapping[Key, Standing],
    marks: Mapping[str, Mark],
    records: Sequence[Mapping[str, Any]],
    class_board: pd.DataFrame,
) -> list[Subject]:
    """Return a section for each method of the records, in the order of the marks."""
    found = {record["cell"]["method"] for record in records}
    return [
        Subject(
            method,
            _summary(method),
            _method_facts(method, records),
            _method_tables(number, method, board, standings, class_board),
        )
        for number, method in enumerate(name for name in marks if name in found)
    ]


def _summary(method: str) -> str:
    try:
        return registry.methods.entry(method).summary
    except BenchError:
        return ""


def _method_facts(method: str, records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    mine = [record for record in records if record["cell"]["method"] == method]
    try:
        info = registry.methods.entry(method).info
    except BenchError:
        info = {}
    facts = {
        "Family": str(info.get("family", "not known here")),
        "Reference": str(info.get("reference", "not known here")),
        "Versions": ", ".join(sorted({str(one["versions"].get("method", "?")) for one in mine})),
        "Corpora": ", ".join(sorted({one["corpus"] for one in mine if one["corpus"]})) or "none",
        "Cells": str(len(mine)),
        "Time of its cells": duration(sum(one["cost"]["wall_hours"] for one in mine)),
    }
    collapsed = [one for one in mine if (one["pretrained"] or {}).get("collapsed")]
    if collapsed:
        facts["Warning"] = f"features of {len(collapsed)} cells' pretraining collapsed"
    return facts


def _method_tables(
    number: int,
    method: str,
    board: pd.DataFrame,
    standings: Mapping[Key, Standing],
    class_board: pd.DataFrame,
) -> list[Table]:
    mine = rows_of(board[board["method"] == method]) if len(board) else []
    tables = []
    if mine:
        labels = row_labels([{name: str(one[name]) for name in ROW} for one in mine])
        rows = []
        ends = [standings[tuple(one[name] for name in ROW)] for one in mine]
        low = min((e.low for e in ends if e.low == e.low), default=0.0)
        high = max((e.high for e in ends if e.high == e.high), default=1.0)
        for one, label, standing in zip(mine, labels, ends, strict=True):
            rank, tier = rank_values(standing)
            kind, amount = shots_order(str(one["shots"]))
            plain = label.removeprefix(method).strip(" ()")
            cells = [
                Value(str(one["shots"]), kind * 1e9 + amount),
                score(standing, one["dice_sd"], (low - 1e-3, high + 1e-3)),
                rank,
                tier,
                Value(plain, plain) if plain else Value(missing="its only variant"),
            ]
            rows.append(Row(str(one["task"]), None, [_plainly(cell) for cell in cells]))
        columns = ["Task", "Shots", "Dice", "Rank", "Tier", "Variant"]
        tables.append(Table(f"method-{number}", f"{method} on every task", columns, rows))
    classed = rows_of(class_board[class_board["method"] == method]) if len(class_board) else []
    if classed:
        rows = [
            Row(
                str(one["task"]),
                None,
                [
                    Value(str(one["shots"]), str(one["shots"])),
                    Value(f"{one['auc']:.3f}", one["auc"])
                    if one["auc"] == one["auc"]
                    else Value(missing="the test cases lack a class"),
                ],
            )
            for one in classed
        ]
        caption = f"{method} on tasks of classification"
        tables.append(Table(f"method-{number}-auc", caption, ["Task", "Shots", "AUC"], rows))
    return tables


def _plainly(value: Value) -> Value:
    """Return a value that no switch of definitions changes."""
    from dataclasses import replace

    return replace(value, part="")


def task_facts(task: str, records: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """Return a task's summary and what is recorded of it."""
    mine = [record for record in records if record["cell"]["task"] == task]
    told = mine[0]["settings"].get("task", {})
    splits = {record["split"]["digest"]: record["split"] for record in mine}
    shots = sorted({record["cell"]["shots"] for record in mine}, key=shots_order)
    channels = [str(name) for name in told.get("channels", ())]
    targets = [*(told.get("regions") or {})] or [*told.get("classes", {}).values()]
    facts = {
        "Modality": str(told.get("modality", "not recorded")),
        **({"Channels": ", ".join(channels)} if len(channels) > 1 else {}),
        "Targets": ", ".join(map(str, targets)) or "not recorded",
        "Shots": ", ".join(shots_text(one) for one in shots),
        "Split": "; ".join(
            f"{len(split['train'])} for training, {len(split['test'])} for testing"
            f" ({split['source'] or 'its own rule'}, digest {short(digest)})"
            for digest, split in sorted(splits.items())
        ),
        "Licence": str(told.get("licence", "not recorded")),
        "Access": str(told.get("access", "not recorded")),
    }
    return str(told.get("summary", "")), facts
