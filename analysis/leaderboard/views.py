"""Numbers to text: what stands in each table of the page, and why a cell is empty."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from medssl_bench.analysis.leaderboard.marks import Mark, row_labels, short
from medssl_bench.analysis.tables import IDENTITY, rows_of

ONE_RUN = "one run only; a spread needs at least two draws or seeds"
NO_TARGET = "no target is present in any reference"
OWN_TRAINING = "trained by its own protocol, which scratch does not share"
FEW_CASES = "an interval needs at least two test cases"


@dataclass(frozen=True)
class Value:
    """Text of a table cell, the number it is sorted by, and the reason where it is missing."""

    text: str = ""
    sort: float | str | None = None
    missing: str = ""
    note: str = ""
    """Small print below."""
    no_spread: str = ""
    """Why a mean has no spread."""
    bar: tuple[float, float, float] | None = None
    """Interval and mean as shares of the column's width, for a drawn interval."""


@dataclass(frozen=True)
class Row:
    """A table row: its label, its mark, and its cells."""

    label: str
    mark: Mark | None
    cells: Sequence[Value]
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the page; ``zero`` is where the drawn intervals have their zero, as a share."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    sorted_by: int | None = None
    zero: float = 0.5
    hints: Mapping[str, str] = field(default_factory=dict)


def number(value: float, digits: int, signed: bool = False) -> str:
    """Write a number with a true minus sign."""
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.replace("-", "\u2212")


def measured(mean: float, spread: float, digits: int, nothing: str = NO_TARGET) -> Value:
    """Write mean and spread; a missing spread is said to be missing."""
    if not math.isfinite(mean):
        return Value(missing=nothing)
    if not math.isfinite(spread):
        return Value(number(mean, digits), mean, no_spread=ONE_RUN)
    return Value(f"{number(mean, digits)} \u00b1 {number(spread, digits)}", mean)


LEADERBOARD = [
    "Method",
    "Dice",
    "Gain over scratch",
    "HD95 (mm)",
    "Missed",
    "False",
    "Runs",
    "Cases",
    "Backbone",
    "Pretraining",
    "Leaks",
    "Protocol",
]
HINTS = {
    "Dice": "mean over test cases, seeds and draws, plus or minus the standard deviation over runs",
    "Gain over scratch": "paired Dice difference with its 95 % interval over draws and test cases",
    "HD95 (mm)": "95th percentile Hausdorff distance; a missed target counts as the image diagonal",
    "Missed": "targets in the reference of which nothing was predicted, over all runs",
    "False": "targets absent from the reference that were predicted nevertheless, over all runs",
    "Runs": "draws \u00d7 seeds",
    "Cases": "test cases with at least one target",
    "Pretraining": "corpus, its scans, voxels of a crop, start of the pretraining's key, its seed",
    "Leaks": "test cases found in the corpus that was pretrained on",
    "Protocol": "start of the digest of all settings that decide a result",
}


def leaderboard_tables(
    board: pd.DataFrame,
    marks: Mapping[str, Mark],
    leaks: Mapping[tuple[str, str], Value],
    own: Collection[str] = (),
) -> dict[str, list[Table]]:
    """Return the tables of each task, one for each number of shots.

    ``leaks`` says of (task, pretraining) what of the test set was in the corpus; ``own`` are the
    protocols of methods that bring a training of their own.
    """
    tables: dict[str, list[Table]] = {}
    groups = board.groupby(["task", "shots"], sort=False)
    for index, ((task, shots), rows) in enumerate(groups):
        records = rows_of(rows)
        low, high = gain_range(rows)
        table = Table(
            id=f"board-{index}",
            caption=f"{task}, {shots_text(str(shots))}",
            columns=LEADERBOARD,
            rows=[
                _leaderboard_row(
                    one,
                    marks[one["method"]],
                    position == 0,
                    low,
                    high,
                    leaks,
                    one["protocol"] in own,
                )
                for position, one in enumerate(records)
            ],
            sorted_by=LEADERBOARD.index("Dice"),
            zero=-low / (high - low),
            hints=HINTS,
        )
        tables.setdefault(str(task), []).append(table)
    return tables


def shots_text(shots: str) -> str:
    """Say the number of shots in words."""
    if shots == "full":
        return "all labelled cases"
    if shots.endswith("%"):
        return f"{shots} of the labelled cases"
    return f"{shots} labelled case{'' if shots == '1' else 's'}"


def _leaderboard_row(
    one: Mapping[str, Any],
    mark: Mark,
    best: bool,
    low: float,
    high: float,
    leaks: Mapping[tuple[str, str], Value],
    own: bool,
) -> Row:
    cells = [
        measured(one["dice"], one["dice_sd"], 3),
        Value(missing=OWN_TRAINING) if own else gain(one, low, high),
        measured(one["hd95"], one["hd95_sd"], 1),
        share(one["misses"], one["present"], NO_TARGET),
        share(one["false_positives"], one["absent"], "every target is present in every reference"),
        runs(one),
        Value(str(int(one["n_cases"])), int(one["n_cases"])),
        *origin(one, leaks, own),
    ]
    return Row(one["method"], mark, cells, best)


def runs(one: Mapping[str, Any]) -> Value:
    """Write how many runs a row has: draws times seeds."""
    count = int(one["n_runs"])
    draws, seeds = int(one["n_draws"]), int(one["n_seeds"])
    plan = f"{draws} \u00d7 {seeds}"
    return Value(plan if draws * seeds == count else f"{count} of {plan}", count)


def origin(
    one: Mapping[str, Any], leaks: Mapping[tuple[str, str], Value], own: bool = False
) -> list[Value]:
    """Write where a row comes from: backbone, pretraining, its leaks, protocol.

    ``own``: the protocol is that of one method alone.
    """
    words = [short(one["pretraining"])]
    if one["corpus_size"]:
        words.insert(0, f"{one['corpus_size']} scans, crops {one['pretrain_crop']}")
    if one["pretrain_seed"]:
        words.append(f"seed {one['pretrain_seed']}")
    return [
        Value(one["backbone"], one["backbone"]),
        _word(one["corpus"], "not pretrained", ", ".join(words)),
        leaks[one["task"], one["pretraining"]],
        Value(
            short(one["protocol"]),
            one["protocol"],
            note=f"{one['profile']}, its own" if own else one["profile"],
        ),
    ]


def share(count: float, total: float, nothing: str) -> Value:
    """Write ``count of total``; missing where there was nothing to count."""
    if total == 0:
        return Value(missing=nothing)
    return Value(f"{int(count)} of {int(total)}", count / total)


def _word(text: str, missing: str, note: str = "") -> Value:
    return Value(text, text, note=note) if text not in ("", "none") else Value(missing=missing)


def gain(one: Mapping[str, Any], low: float, high: float, no_interval: str = FEW_CASES) -> Value:
    """Write a paired gain with its interval, drawn on a scale from ``low`` to ``high``."""
    if one["gain_missing"]:
        return Value(missing=one["gain_missing"])
    draws, cases = int(one["gain_draws"]), int(one["gain_cases"])
    n = f"{draws} draw{'s' * (draws != 1)} \u00d7 {cases} case{'s' * (cases != 1)}"
    ends = np.array([one["gain_low"], one["gain"], one["gain_high"]])
    text = number(one["gain"], 3, signed=True)
    if not np.isfinite(ends).all():
        return Value(text, one["gain"], note=f"{n}; {no_interval}")
    limits = f"[{number(ends[0], 3, signed=True)}, {number(ends[2], 3, signed=True)}]"
    places = (ends - low) / (high - low)
    bar = (float(places[0]), float(places[1]), float(places[2]))
    return Value(f"{text} {limits}", one["gain"], note=n, bar=bar)


def gain_range(rows: pd.DataFrame) -> tuple[float, float]:
    """Return the span of all intervals of a table, zero included, with a margin."""
    ends = rows[["gain", "gain_low", "gain_high"]].to_numpy(float)
    known = np.append(ends[np.isfinite(ends)], 0.0)
    margin = max(0.05 * float(np.ptp(known)), 1e-6)
    return float(known.min()) - margin, float(known.max()) + margin


def target_tables(
    targets: pd.DataFrame, order: Mapping[str, Sequence[str]], marks: Mapping[str, Mark]
) -> dict[str, list[Table]]:
    """Return the tables of each task: a row per target, a column per leaderboard row."""
    tables: dict[str, list[Table]] = {}
    groups = targets.groupby(["task", "shots"], sort=False)
    for index, ((task, shots), rows) in enumerate(groups):
        keys = rows_of(rows[IDENTITY].drop_duplicates().sort_values(IDENTITY))
        keys.sort(key=lambda key: list(marks).index(key["method"]))
        found = {(row["target"], *(row[name] for name in IDENTITY)): row for row in rows_of(rows)}
        body = [
            Row(
                str(target),
                None,
                [
                    _target_cell(found.get((target, *(key[name] for name in IDENTITY))))
                    for key in keys
                ],
            )
            for target in order[str(task)]
        ]
        columns = ["Target", *row_labels(keys)]
        caption = f"{task}, {shots_text(str(shots))}"
        tables.setdefault(str(task), []).append(Table(f"target-{index}", caption, columns, body))
    return tables


def _target_cell(row: Mapping[str, Any] | None) -> Value:
    if row is None:
        return Value(missing="not measured for this row")
    value = measured(row["dice"], row["dice_sd"], 3)
    if value.missing:
        return value
    note = f"{number(row['hd95'], 1)} mm, {int(row['misses'])} of {int(row['present'])} missed"
    return replace(value, note=note)
