"""The tables that the page opens with: a row per method, for each task and number of shots."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medssl_bench.analysis.leaderboard.marks import Mark, row_labels
from medssl_bench.analysis.leaderboard.reported import ReportedRow
from medssl_bench.analysis.leaderboard.standings import Key, Standing
from medssl_bench.analysis.leaderboard.views import (
    NO_TARGET,
    OWN_TRAINING,
    Row,
    Table,
    Value,
    gain,
    gain_range,
    measured,
    number,
    origin,
    runs,
    share,
    shots_text,
)
from medssl_bench.analysis.tables import COMPARABLE, ROW, rows_of
from medssl_bench.digest import digest

COLUMNS = [
    "Method",
    "Dice",
    "Rank",
    "Tier",
    "Dice gain over scratch",
    "HD95 (mm)",
    "Missed",
    "False",
    "Runs",
    "Cases",
    "Source",
    "Backbone",
    "Pretraining",
    "Leaks",
    "Protocol",
]
HINTS = {
    "Dice": "mean over test cases, seeds and draws, with its 95 % interval over draws and cases",
    "Rank": "by the mean, among rows of one backbone, profile and protocol, and the ranks that"
    " adjusted tests of all pairs do not rule out",
    "Tier": "a tier starts at a method that is shown worse than the first of the tier before",
    "Dice gain over scratch": "paired difference with its 95 % interval over draws and test cases",
    "HD95 (mm)": "95th percentile Hausdorff distance; a missed target counts as the image diagonal",
    "Missed": "targets in the reference of which nothing was predicted, over all runs",
    "False": "targets absent from the reference that were predicted nevertheless, over all runs",
    "Runs": "draws \u00d7 seeds",
    "Cases": "test cases with at least one target",
    "Source": "measured by this harness, or printed in a paper",
    "Pretraining": "corpus, its scans, voxels of a crop, start of the pretraining's key, its seed,"
    " and settings that tell it from others of the method",
    "Leaks": "test cases found in the corpus that was pretrained on",
    "Protocol": "start of the digest of all settings that decide a result",
}
GROUPS = {
    "Rank": "rank",
    "Tier": "rank",
    "Dice gain over scratch": "gain",
    "HD95 (mm)": "distance",
    "Missed": "errors",
    "False": "errors",
    "Runs": "size",
    "Cases": "size",
    "Source": "origin",
    "Backbone": "origin",
    "Pretraining": "origin",
    "Leaks": "origin",
    "Protocol": "origin",
}
MEASURED = "measured"
REPORTED = "reported"
NOT_PRINTED = "not printed"
NO_UNIT = "without a unit"
APART = "Rows between two lines were run under one protocol; ranks and gains are among them alone."
NEVER_RANKED = "printed in a paper, on other cases and by other code: never ranked with measured"


@dataclass(frozen=True)
class Block:
    """Tables of one task and number of shots, and what filters look at."""

    task: str
    shots: str
    modality: str
    table: Table


@dataclass(frozen=True)
class Origin:
    """Whose cells a row is made of."""

    source: str = ""
    """``yours``, ``published`` or both, where several folders were read."""
    flag: str = ""
    """What is wrong with them, if anything."""


def origins(
    row_of: Mapping[str, Key], sources: Mapping[str, str], in_conflict: Collection[str]
) -> dict[Key, Origin]:
    """Return the origin of each row.

    Args:
        row_of: The row of each cell.
        sources: Of each cell, where several folders were read.
        in_conflict: Cells of which there are runs with different numbers.
    """
    groups: dict[Key, list[str]] = {}
    for key, row in row_of.items():
        groups.setdefault(row, []).append(key)
    found = {}
    for row, keys in groups.items():
        count = sum(key in in_conflict for key in keys)
        flag = f"\u26a0 {count} of {len(keys)} cells have two runs that differ" if count else ""
        found[row] = Origin(", ".join(sorted({sources[k] for k in keys if k in sources})), flag)
    return found


def row_id(key: Key) -> str:
    """Name a row so that a link to it holds while its identity does."""
    return "r" + digest(list(key))[:10]


def blocks(
    board: pd.DataFrame,
    standings: Mapping[Key, Standing],
    marks: Mapping[str, Mark],
    leaks: Mapping[tuple[str, str], Value],
    own: Collection[str],
    facts: Mapping[str, Mapping[str, str]],
    printed: Mapping[tuple[str, str], Sequence[ReportedRow]],
    origins: Mapping[Key, Origin],
) -> list[Block]:
    """Return the tables of each task, one for each number of shots, printed rows below measured.

    Args:
        board: Of :func:`medssl_bench.analysis.tables.leaderboard`.
        standings: Of each row, under the default definition.
        marks: Of each method.
        leaks: What of the test set was in the corpus, of each (task, pretraining).
        own: Protocols of methods that bring a training of their own.
        facts: Of each task its ``modality``, of each method its ``family``.
        printed: Rows of papers, of each (task, shots).
        origins: Whose cells each row is made of, and whether any is in conflict.
    """
    made = []
    for index, ((task, shots), rows) in enumerate(board.groupby(["task", "shots"], sort=False)):
        records, firsts = _ranked_together(rows_of(rows))
        low, high = gain_range(rows)
        span = _span([standings[_key(one)] for one in records])
        labels = row_labels([{name: str(one[name]) for name in ROW} for one in records])
        body = [
            _measured_row(
                one, label, standings[_key(one)], marks[one["method"]], place == 0, (low, high),
                span, leaks, one["protocol"] in own, facts["family"],
                origins.get(_key(one), Origin()), place in firsts,
            )
            for place, (one, label) in enumerate(zip(records, labels, strict=True))
        ]  # fmt: skip
        body += [
            _printed_row(one, apart=bool(firsts) and place == 0)
            for place, one in enumerate(printed.get((str(task), str(shots)), ()))
        ]
        table = Table(
            id=f"board-{index}",
            caption=f"{task}, {shots_text(str(shots))}",
            columns=COLUMNS,
            rows=body,
            sorted_by=None if firsts else COLUMNS.index("Dice"),
            zero=-low / (high - low),
            hints=HINTS,
            groups=GROUPS,
            notes=[APART] if firsts else [],
        )
        modality = facts["modality"].get(str(task), "")
        made.append(Block(str(task), str(shots), modality, table))
    return made


def _ranked_together(records: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], set[int]]:
    """Put rows that are ranked together together; returns also where each but the first begins.

    Sets of rows follow by the best of each. Where each set is one row, nothing stands apart.
    """
    sets: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for one in records:
        sets.setdefault(tuple(one[name] for name in COMPARABLE), []).append(one)
    if len(sets) == 1 or len(sets) == len(records):
        return records, set()
    sizes = [len(some) for some in sets.values()]
    return [one for some in sets.values() for one in some], set(np.cumsum(sizes[:-1]).tolist())


def _key(one: Mapping[str, Any]) -> Key:
    return tuple(one[name] for name in ROW)


def _span(found: Sequence[Standing]) -> tuple[float, float]:
    """Return the least and the greatest number of a table's intervals."""
    ends = [end for one in found for end in (one.low, one.mean, one.high) if math.isfinite(end)]
    if not ends:
        return 0.0, 1.0
    margin = max(0.05 * (max(ends) - min(ends)), 1e-6)
    return min(ends) - margin, max(ends) + margin


def _measured_row(
    one: Mapping[str, Any],
    label: str,
    standing: Standing,
    mark: Mark,
    best: bool,
    gains: tuple[float, float],
    span: tuple[float, float],
    leaks: Mapping[tuple[str, str], Value],
    own: bool,
    family: Mapping[str, str],
    whose: Origin,
    apart: bool,
) -> Row:
    rank, tier = rank_values(standing)
    cells = [
        score(standing, one["dice_sd"], span),
        rank,
        tier,
        Value(missing=OWN_TRAINING) if own else gain(one, *gains),
        measured(one["hd95"], one["hd95_sd"], 1),
        share(one["misses"], one["present"], NO_TARGET),
        share(one["false_positives"], one["absent"], "every target is present in every reference"),
        runs(one),
        Value(str(int(one["n_cases"])), int(one["n_cases"])),
        Value(MEASURED, MEASURED, note=whose.source),
        *origin(one, leaks, own),
    ]
    data = {
        "row": row_id(_key(one)),
        "family": family.get(one["method"], "unknown"),
        "backbone": one["backbone"],
        "profile": one["profile"],
        "source": MEASURED,
    }
    return Row(label, mark, cells, best, data, whose.flag, apart)


def score(standing: Standing, spread: float, span: tuple[float, float], digits: int = 3) -> Value:
    """Write a mean with its interval, drawn on a scale of ``span``, and its spread over runs."""
    if not math.isfinite(standing.mean):
        return Value(missing=NO_TARGET, part="score")
    text = number(standing.mean, digits)
    note = f"SD of runs {number(spread, digits)}" if math.isfinite(spread) else "one run"
    if not math.isfinite(standing.low):
        return Value(text, standing.mean, note=f"{note}; {standing.no_interval}", part="score")
    low, high = number(standing.low, digits), number(standing.high, digits)
    width = span[1] - span[0]
    ends = [(end - span[0]) / width for end in (standing.low, standing.mean, standing.high)]
    bar = (ends[0], ends[1], ends[2])
    return Value(f"{text} [{low}, {high}]", standing.mean, note=note, bar=bar, part="score")


def rank_values(standing: Standing) -> tuple[Value, Value]:
    """Write a rank as ``2 (1-3 of 5)``, and the tier."""
    if not standing.of:
        return (
            Value(missing=standing.unranked, part="rank"),
            Value(missing=standing.unranked, part="tier"),
        )
    text = f"{standing.rank:g} ({standing.rank_low}\u2013{standing.rank_high} of {standing.of})"
    return Value(text, standing.rank, part="rank"), Value(
        str(standing.tier), standing.tier, part="tier"
    )


def _printed_row(one: ReportedRow, *, apart: bool = False) -> Row:
    never = Value(missing=NEVER_RANKED)
    unknown = Value(missing=NOT_PRINTED)
    dice, hd95 = one.scores["dice"], one.scores.get("hd95")
    spread = f"\u00b1 {number(dice.spread, 3)} as printed" if math.isfinite(dice.spread) else ""
    cells = [
        Value(number(dice.value, 3), dice.value, note=spread, badge=REPORTED),
        never,
        never,
        never,
        Value(number(hd95.value, 1), hd95.value, note=f"{hd95.table}, {NO_UNIT}")
        if hd95 is not None
        else unknown,
        *[unknown] * 4,
        Value(REPORTED, REPORTED, note=f"{one.source}, {one.table}"),
        Value(one.backbone, one.backbone),
        Value(one.pretraining, one.pretraining),
        unknown,
        unknown,
    ]
    data = {"family": "reported", "backbone": one.backbone, "profile": "", "source": REPORTED}
    return Row(one.label, None, cells, data=data, note=one.misprints, apart=apart)
