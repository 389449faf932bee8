"""Where every row of the leaderboard stands, under each definition that a reader may prefer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from medssl_bench.analysis.statistics.crossed import paired_intervals
from medssl_bench.analysis.statistics.panel import (
    HIGHER_IS_BETTER,
    Panel,
    panels_of,
    target_values,
)
from medssl_bench.analysis.studies.ranking import rank_by_tests
from medssl_bench.analysis.tables import ROW, RUN, aggregate, prepare, rows_of

Key = tuple[str, ...]
"""The values of ``tables.ROW``: identity, task, shots."""
Empty = Literal["left out", "counted"]

ALONE = "nothing to rank it against under the same backbone and protocol"
FEW = "no interval: fewer than two test cases"
BEYOND = "no interval: some of its draws or seeds are not those of the others"
CUT = "not ranked: its draws, seeds or test cases are not those of most methods"


@dataclass(frozen=True)
class Definition:
    """A metric, and what becomes of targets that the reference lacks."""

    metric: str
    empty: Empty = "left out"

    @property
    def key(self) -> str:
        """A word for addresses and files."""
        return self.metric if self.empty == "left out" else f"{self.metric}-counted"


@dataclass(frozen=True)
class Standing:
    """Mean over draws, seeds and cases with its interval, and the rank with its own."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    rank: float = math.nan
    rank_low: int = 0
    rank_high: int = 0
    tier: int = 0
    of: int = 0
    """How many methods were ranked together; 0 where it was not ranked."""
    unranked: str = ""
    """Why it has no rank, where it has none."""
    no_interval: str = ""
    """Why it has no interval, where it has none."""


DEFAULT = Definition("dice")


def definitions_of(cases: pd.DataFrame) -> list[Definition]:
    """Return the definitions that the case table has numbers for, the default first."""
    known = [name for name in HIGHER_IS_BETTER if name in cases and cases[name].notna().any()]
    return [Definition(name, empty) for name in known for empty in ("left out", "counted")]


def standings(
    cases: pd.DataFrame, prepared: pd.DataFrame | None = None
) -> dict[Definition, dict[Key, Standing]]:
    """Return the standing of every row of the leaderboard under every definition there is.

    ``prepared``: the case table as ``tables.prepare`` returns it, where it is at hand.

    Intervals are over draws and test cases (of one draw: over cases alone), as those of ``bench
    analyze groups``; ranks, their intervals and tiers are those of ``bench analyze ranks``.
    """
    definitions = definitions_of(cases)
    table = prepare(cases) if prepared is None else prepared
    columns = {
        one.key: target_values(table, cases, one.metric, absent=one.empty == "counted")
        for one in definitions
    }
    means = {name: (name, "mean") for name in columns}
    values = aggregate(table.assign(**columns), [*RUN, "case"], **means)
    means_of = _means(values, list(columns))
    found = {}
    for empty in ("left out", "counted"):
        some = [one for one in definitions if one.empty == empty]
        # Which runs and cases make a panel is the same for all: panels are made of places once.
        known = values[some[0].key].notna()
        places = np.arange(len(values), dtype=float)
        panels = panels_of(values.assign(value=np.where(known, places, np.nan)), some[0].metric)
        for one in some:
            column = values[one.key].to_numpy(float)
            mine = [
                replace(panel, metric=one.metric, values=column[panel.values.astype(int)])
                for panel in panels
            ]
            found[one] = _stand(mine, means_of[one.key])
    return {one: found[one] for one in definitions}


def _stand(panels: Sequence[Panel], means: Mapping[Key, float]) -> dict[Key, Standing]:
    found = {key: Standing(mean, unranked=CUT, no_interval=BEYOND) for key, mean in means.items()}
    for panel in panels:
        ranking = rank_by_tests(panel) if len(panel.methods) > 1 else None
        intervals = paired_intervals(panel.crossed)
        for place, key in enumerate(_keys(panel)):
            rank: dict[str, Any] = {"unranked": ALONE}
            if ranking is not None:
                rank = {
                    "rank": float(ranking.rank[place]),
                    "rank_low": int(ranking.low[place]),
                    "rank_high": int(ranking.high[place]),
                    "tier": int(ranking.tier[place]),
                    "of": len(panel.methods),
                }
            interval = intervals[place]
            whole = math.isclose(interval.mean, found[key].mean, abs_tol=1e-9)
            # Runs beyond those that all methods have are in the row's mean, not in the panel's.
            ends = (interval.low, interval.high) if whole else (math.nan, math.nan)
            why = "" if math.isfinite(ends[0]) else FEW if whole else BEYOND
            found[key] = Standing(found[key].mean, *ends, **rank, no_interval=why)
    return found


def _means(values: pd.DataFrame, columns: Sequence[str]) -> dict[str, dict[Key, float]]:
    """Average cases of a run, seeds of a draw, draws; of each column, by row of the leaderboard."""
    means = {name: (name, "mean") for name in columns}
    runs = aggregate(values, RUN, **means)
    draws = aggregate(runs, [*ROW, "draw"], **means)
    rows = rows_of(aggregate(draws, ROW, **means))
    keys = [tuple(row[name] for name in ROW) for row in rows]
    return {
        name: {key: float(row[name]) for key, row in zip(keys, rows, strict=True)}
        for name in columns
    }


def _keys(panel: Panel) -> list[Key]:
    words = {"task": panel.task, "shots": panel.shots}
    return [tuple({**identity, **words}[name] for name in ROW) for identity in panel.identities]


@dataclass(frozen=True)
class Flip:
    """Two methods whose order turns under another definition."""

    first: Key
    second: Key


def flips(before: Mapping[Key, Standing], after: Mapping[Key, Standing]) -> list[Flip]:
    """Return the pairs of one task, shots and protocol whose ranks turn; ties turn nothing."""
    groups: dict[Key, list[Key]] = {}
    for key, standing in before.items():
        if standing.of and after[key].of:
            groups.setdefault(_peers(key), []).append(key)
    found = []
    for keys in groups.values():
        for place, first in enumerate(keys):
            for second in keys[place + 1 :]:
                was = before[first].rank - before[second].rank
                now = after[first].rank - after[second].rank
                if was * now < 0:
                    found.append(Flip(first, second))
    return found


def _peers(key: Key) -> Key:
    """Return what rows share that are ranked together."""
    words = dict(zip(ROW, key, strict=True))
    return tuple(words[name] for name in ("task", "shots", "backbone", "protocol", "profile"))
