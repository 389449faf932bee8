"""The page's tables of classification tasks: their own metrics, never mixed with Dice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from medssl_bench.analysis.leaderboard import views
from medssl_bench.analysis.leaderboard.marks import Mark
from medssl_bench.analysis.leaderboard.overview import HINTS as ORIGIN_HINTS
from medssl_bench.analysis.leaderboard.overview import NEVER_RANKED, NOT_PRINTED, REPORTED
from medssl_bench.analysis.leaderboard.reported import ReportedRow
from medssl_bench.analysis.leaderboard.views import Row, Table, Value, number
from medssl_bench.analysis.tables import rows_of

COLUMNS = [
    "Method",
    "AUC",
    "Accuracy",
    "Accuracy gain over scratch",
    "F1",
    "Log loss",
    "Runs",
    "Cases",
    "Backbone",
    "Pretraining",
    "Leaks",
    "Protocol",
]
HINTS = {
    **{name: ORIGIN_HINTS[name] for name in ("Runs", "Pretraining", "Leaks", "Protocol")},
    "AUC": "area under the ROC curve over the test cases of a run; mean and standard deviation of"
    " runs",
    "Accuracy": "share of test cases whose most probable class is the true one",
    "Accuracy gain over scratch": "paired difference of being right, with its 95 % interval over"
    " draws and test cases",
    "F1": "of the positive class of two, or the mean over classes; see the definitions",
    "Log loss": "mean of minus the logarithm of the true class's probability; less is better",
    "Cases": "test cases, and how many of them the rarest class has",
}
NO_CLASS = "the test cases lack a class"
NO_DEFINITION = "as printed, of which classes is not said"
ALIKE = "no test case tells the two apart, so there is no interval"


def board_tables(
    board: pd.DataFrame,
    marks: Mapping[str, Mark],
    leaks: Mapping[tuple[str, str], Value],
    printed: Mapping[tuple[str, str], Sequence[ReportedRow]],
    families: Mapping[str, str],
) -> dict[str, list[tuple[str, Table]]]:
    """Return shots and table of each task's boards, printed rows below measured.

    ``leaks`` as in ``views``, ``printed`` of each (task, shots).
    """
    tables: dict[str, list[tuple[str, Table]]] = {}
    groups = board.groupby(["task", "shots"], sort=False)
    for index, ((task, shots), rows) in enumerate(groups):
        low, high = views.gain_range(rows)
        table = Table(
            id=f"classes-{index}",
            caption=f"{task}, {views.shots_text(str(shots))}",
            columns=COLUMNS,
            rows=[
                _row(one, marks[one["method"]], place == 0, low, high, leaks, families)
                for place, one in enumerate(rows_of(rows))
            ]
            + [_printed_row(one) for one in printed.get((str(task), str(shots)), ())],
            sorted_by=COLUMNS.index("AUC"),
            zero=-low / (high - low),
            hints=HINTS,
        )
        tables.setdefault(str(task), []).append((str(shots), table))
    return tables


def _row(
    one: Mapping[str, Any],
    mark: Mark,
    best: bool,
    low: float,
    high: float,
    leaks: Mapping[tuple[str, str], Value],
    families: Mapping[str, str],
) -> Row:
    few = int(one["smallest_class"])
    cells = [
        *(_metric(one, name) for name in ("auc", "accuracy")),
        views.gain(one, low, high, ALIKE),
        *(_metric(one, name) for name in ("f1", "log_loss")),
        views.runs(one),
        Value(str(int(one["n_cases"])), int(one["n_cases"]), note=f"rarest class {few}"),
        *views.origin(one, leaks),
    ]
    data = {
        "family": families.get(one["method"], "unknown"),
        "backbone": one["backbone"],
        "profile": one["profile"],
        "source": "measured",
    }
    return Row(one["method"], mark, cells, best and math.isfinite(one["auc"]), data)


def _printed_row(one: ReportedRow) -> Row:
    unknown = Value(missing=NOT_PRINTED)
    cells = [
        _printed(one, "auc"),
        _printed(one, "acc"),
        Value(missing=NEVER_RANKED),
        _printed(one, "f1", NO_DEFINITION),
        *[unknown] * 3,
        Value(one.backbone, one.backbone),
        Value(one.pretraining, one.pretraining, note=f"{one.source}, {one.table}"),
        unknown,
        unknown,
    ]
    return Row(one.label, None, cells, data={"source": REPORTED}, note=one.misprints)


def _printed(one: ReportedRow, metric: str, note: str = "") -> Value:
    found = one.scores.get(metric)
    if found is None:
        return Value(missing=NOT_PRINTED)
    return Value(number(found.value, 3), found.value, note=note, badge=REPORTED)


def _metric(one: Mapping[str, Any], name: str) -> Value:
    return views.measured(one[name], one[f"{name}_sd"], 3, NO_CLASS)
