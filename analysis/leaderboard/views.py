"""Numbers to text: what stands in each table of the page, and why a cell is empty."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from medssl_bench.analysis.leaderboard.marks import Mark, short

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
    part: str = ""
    """What a script may put another definition's value into: ``score``, ``rank`` or ``tier``."""
    badge: str = ""
    """A word in front that tells kinds of values apart, as ``reported``."""


@dataclass(frozen=True)
class Row:
    """A table row: its label, its mark, and its cells."""

    label: str
    mark: Mark | None
    cells: Sequence[Value]
    best: bool = False
    data: Mapping[str, str] = field(default_factory=dict)
    """What filters look at: ``data-`` attributes without that word."""
    note: str = ""
    """Small print below the label."""
    apart: bool = False
    """Whether it is the first of rows that stand apart from those above."""


@dataclass(frozen=True)
class Table:
    """A table of the page; ``zero`` is where drawn intervals have their zero, as a share."""

    id: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    sorted_by: int | None = None
    ascending: bool = False
    """Whether the sorted column begins with its least value."""
    zero: float | None = None
    hints: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    """Column to the group that is shown or hidden with it."""
    notes: Sequence[str] = ()
    """Lines below the table."""


def prose(text: str) -> Markup:
    """Mark up as code what stands between backticks; all else is escaped."""
    parts = re.split(r"`([^`]*)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def unquoted(text: str) -> str:
    """Return a text without backticks, for where no code can be marked up."""
    return text.replace("`", "")


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


def shots_text(shots: str) -> str:
    """Say the number of shots in words."""
    if shots == "full":
        return "all labelled cases"
    if shots.endswith("%"):
        return f"{shots} of the labelled cases"
    return f"{shots} labelled case{'' if shots == '1' else 's'}"


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

    ``own``: the protocol is that of one method alone. ``settings`` of the row, where there are any,
    tell its pretraining from others of the method.
    """
    words = [short(one["pretraining"])]
    if one["corpus_size"]:
        words.insert(0, f"{one['corpus_size']} scans, crops {one['pretrain_crop']}")
    if one["pretrain_seed"]:
        words.append(f"seed {one['pretrain_seed']}")
    if one.get("settings"):
        words.append(one["settings"])
    tuned = f"{one['profile']}, its own" if own else one["profile"]
    return [
        Value(one["backbone"], one["backbone"]),
        _word(one["corpus"], "not pretrained", ", ".join(words)),
        leaks[one["task"], one["pretraining"]],
        Value(
            short(one["protocol"]),
            one["protocol"],
            note=f"{tuned}, adds {one['tuning']}" if one["tuning"] else tuned,
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
