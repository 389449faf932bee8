"""Methods run under one protocol on the same draws, seeds and cases, as one array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl_bench.analysis.leaderboard.marks import row_labels, short
from medssl_bench.analysis.statistics.answer import settled
from medssl_bench.analysis.tables import (
    COMPARABLE,
    IDENTITY,
    RUN,
    aggregate,
    number_groups,
    prepare,
    shots_order,
)
from medssl_bench.errors import BenchError, did_you_mean

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "dice": True,
    "nsd": True,
    "hd95": False,
    "hd95_pooled": False,
    "hd95_surfel": False,
}
"""The metrics that methods are compared by; a missed target's distance is the image's diagonal."""
AREA = "auc"
"""The metric of a panel whose values are :func:`medssl_bench.analysis.classification.placed`."""


@dataclass(frozen=True)
class Panel:
    """What can be compared: every method has every draw, seed and case."""

    task: str
    shots: str
    metric: str
    protocol: str
    """Backbone, profile and protocol that all methods share."""
    methods: tuple[str, ...]
    identities: tuple[Mapping[str, str], ...]
    """The leaderboard's identity of each method."""
    draws: tuple[str, ...]
    cases: tuple[str, ...]
    values: NDArray[np.float64] = field(repr=False)
    """``(methods, draws, seeds, cases)``: the mean over the targets present in the reference."""
    left_out: tuple[str, ...] = ()
    """What was recorded and is not in here, one line each."""

    @property
    def title(self) -> str:
        """Task, shots and protocol."""
        return f"{self.task}, shots {self.shots}, {self.protocol}"

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""
        return {**HIGHER_IS_BETTER, AREA: True}[self.metric]

    @property
    def crossed(self) -> NDArray[np.float64]:
        """``(methods, draws, cases)``: seeds averaged."""
        return settled(self.values.mean(axis=2))

    @property
    def case_means(self) -> NDArray[np.float64]:
        """``(methods, cases)``: seeds and draws averaged, one independent row a case."""
        return settled(self.values.mean(axis=(1, 2)))

    @property
    def means(self) -> NDArray[np.float64]:
        """``(methods,)``."""
        return settled(self.values.mean(axis=(1, 2, 3)))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every pair of methods once, by place."""
        return list(combinations(range(len(self.methods)), 2))

    def best_first(self) -> Panel:
        """Return the panel with the best mean first, ties by name."""
        sign = -1 if self.higher_is_better else 1
        order = sorted(
            range(len(self.methods)), key=lambda one: (sign * self.means[one], self.methods[one])
        )
        return replace(
            self,
            methods=tuple(self.methods[one] for one in order),
            identities=tuple(self.identities[one] for one in order),
            values=self.values[order],
        )


def panels(
    cases: pd.DataFrame,
    metric: str = "dice",
    *,
    task: str | None = None,
    shots: str | None = None,
    targets: Sequence[str] | None = None,
    absent: bool = False,
) -> list[Panel]:
    """Split a case table into panels (see :func:`panels_in` and, for ``absent``, ``scored``)."""
    table = scored(cases, metric, absent=absent)
    return panels_in(table, metric, task=task, shots=shots, targets=targets)


def panels_in(
    table: pd.DataFrame,
    metric: str,
    *,
    task: str | None = None,
    shots: str | None = None,
    targets: Sequence[str] | None = None,
) -> list[Panel]:
    """Split scored cases into panels, by task and shots.

    Only what shares task, shots, backbone, profile and protocol is compared. Within that, the
    draws and seeds that most methods have make the panel; what is not in it is named in
    ``left_out``.

    Args:
        table: Of :func:`scored`.
        metric: One of ``HIGHER_IS_BETTER``.
        task: Only this task.
        shots: Only these shots.
        targets: Only these targets; by default all.

    Raises:
        BenchError: Unknown metric, task, shots or target; a table that contradicts itself.
    """
    table = _only(table, "task", task)
    table = _only(table, "shots", shots)
    if targets is not None:
        for target in targets:
            _only(table, "target", target)
        table = table[table["target"].isin(targets)]
    return panels_of(case_values(table), metric)


def panels_of(values: pd.DataFrame, metric: str) -> list[Panel]:
    """Split the values of cases (see :func:`case_values`) into panels, by task and shots."""
    groups = [
        (dict(zip(COMPARABLE, map(str, key), strict=True)), rows)
        for key, rows in values.groupby(COMPARABLE, sort=True)
    ]
    groups.sort(key=lambda one: (one[0]["task"], shots_order(one[0]["shots"])))
    made = [_panel(words, rows, metric) for words, rows in groups]
    return [panel for panel in made if panel is not None]


def case_values(table: pd.DataFrame) -> pd.DataFrame:
    """Average ``value`` over the targets of each case: one row per (run, case)."""
    return aggregate(table, [*RUN, "case"], value=("value", "mean"))


def scored(
    cases: pd.DataFrame,
    metric: str,
    *,
    absent: bool = False,
    prepared: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the checked case table with ``value``: the metric of each target that is present.

    A missed target's distance is the image's diagonal; an absent target's value is NaN or, where
    ``absent`` counts, perfect if it was not predicted (share 1, distance 0) and worst if it was
    (share 0, the diagonal). ``prepared``: the same table as ``tables.prepare`` returns it.
    """
    if metric not in HIGHER_IS_BETTER:
        raise BenchError(f"unknown metric {metric!r}.{did_you_mean(metric, HIGHER_IS_BETTER)}")
    if metric not in cases.columns:
        raise BenchError(f"the records hold no {metric}")
    table = prepare(cases) if prepared is None else prepared
    return table.assign(value=target_values(table, cases, metric, absent=absent))


def target_values(
    table: pd.DataFrame, cases: pd.DataFrame, metric: str, *, absent: bool = False
) -> pd.Series[float]:
    """Return the value of every case and target (see :func:`scored`); ``table`` is prepared."""
    higher = HIGHER_IS_BETTER[metric]
    value = cases[metric].astype(float)
    if not higher:
        value = value.where(~table["miss"], cases["diagonal_mm"])
    value = value.where(table["present"])
    if absent:
        value = value.where(table["present"], 1.0 if higher else 0.0)
        value = value.mask(table["false"], 0.0 if higher else cases["diagonal_mm"])
    return value


def pair_by_case(first: pd.Series[float], second: pd.Series[float]) -> NDArray[np.float64]:
    """Return first minus second, one difference a case.

    Args:
        first: Values, indexed by case (or patient).
        second: The same.

    Raises:
        BenchError: A case stands twice, so its rows (seeds, organs, draws) are not independent;
            or the cases differ.
    """
    for values in (first, second):
        counts = values.index.value_counts()
        if (counts > 1).any():
            raise BenchError(
                f"case {counts.index[0]!r} stands {counts.iloc[0]} times: rows of one case are not"
                " independent, and pooled they make a test reject far too often; average organs,"
                " seeds and draws of each case first"
            )
    if missing := sorted(set(first.index) ^ set(second.index), key=str):
        raise BenchError(f"case {missing[0]!r} has only one of the two values; pair complete cases")
    return cast(
        "NDArray[np.float64]", (first - second.reindex(first.index)).to_numpy(dtype=np.float64)
    )


def _only(table: pd.DataFrame, column: str, word: str | None) -> pd.DataFrame:
    if word is None:
        return table
    known = table[column].unique()
    if word not in known:
        raise BenchError(
            f"no {column} {word!r} in the records.{did_you_mean(word, known)}"
            f" There are: {', '.join(sorted(known))}"
        )
    return table[table[column] == word]


def _panel(words: Mapping[str, str], means: pd.DataFrame, metric: str) -> Panel | None:
    tables = _tables(means)
    labels = row_labels([identity for identity, _ in tables])
    left_out: list[str] = []
    usable: list[Scores] = []
    for label, (identity, table) in zip(labels, tables, strict=True):
        known = ~np.isnan(table.to_numpy(float))
        tested = known.any(axis=0)
        if not tested.any() or not known[:, tested].all():
            left_out.append(f"{label}: its runs were tested on different cases")
        else:
            usable.append((label, identity, table if tested.all() else table.loc[:, tested]))
    usable, notes = _same_cases(usable)
    left_out += notes
    usable, notes = _same_runs(usable)
    left_out += notes
    if not usable:
        return None
    index = usable[0][2].index
    draws = tuple(dict.fromkeys(str(draw) for draw in index.get_level_values("draw")))
    per_draw = Counter(index.get_level_values("draw"))
    if len(set(per_draw.values())) > 1:
        least = min(per_draw.values())
        left_out.append(f"seeds beyond the first {least} of a draw: draws have different numbers")
        keep = index.to_frame(index=False).groupby("draw").cumcount().to_numpy() < least
        usable = [(label, identity, table[keep]) for label, identity, table in usable]
    absent = int((means.groupby("case")["value"].count() == 0).sum())
    if absent:
        left_out.append(f"{absent} cases without any of the targets in their reference")
    values = np.stack([table.to_numpy(float) for _, _, table in usable])
    return Panel(
        task=words["task"],
        shots=words["shots"],
        metric=metric,
        protocol=f"{words['backbone']}, {words['profile']}, protocol {short(words['protocol'])}",
        methods=tuple(label for label, _, _ in usable),
        identities=tuple(identity for _, identity, _ in usable),
        draws=draws,
        cases=tuple(str(case) for case in usable[0][2].columns),
        values=values.reshape(len(usable), len(draws), -1, values.shape[-1]),
        left_out=tuple(left_out),
    )


def _tables(means: pd.DataFrame) -> list[tuple[dict[str, str], pd.DataFrame]]:
    """Return the values of each identity by (draw, seed) and case, in order of identity."""
    codes, first = number_groups(means, IDENTITY)
    run_codes, runs = number_groups(means, ["draw", "seed"])
    order = means[["draw", "seed"]].iloc[runs].reset_index(drop=True).sort_values(["draw", "seed"])
    places, index = order.index.argsort()[run_codes], pd.MultiIndex.from_frame(order)
    case_codes, cases = pd.factorize(means["case"], sort=True)
    columns = pd.Index(cases, name="case")
    values = np.full((len(first), len(index), len(columns)), np.nan)
    values[codes, places, case_codes] = means["value"]
    there = np.zeros(values.shape[:2], bool)
    there[codes, places] = True
    whole = [
        pd.DataFrame(table[known], index if known.all() else index[known], columns)
        for table, known in zip(values, there, strict=True)
    ]
    identities = [tuple(map(str, words)) for words in means[IDENTITY].iloc[first].to_numpy()]
    return [
        (dict(zip(IDENTITY, words, strict=True)), whole[code])
        for words, code in sorted(zip(identities, range(len(identities)), strict=True))
    ]


Scores = tuple[str, Mapping[str, str], pd.DataFrame]
"""A method's label, its identity, and its values by (draw, seed) and case."""


def _same_cases(usable: list[Scores]) -> tuple[list[Scores], list[str]]:
    """Keep the methods that were tested on the cases most were; name the others."""
    if all(table.columns.equals(usable[0][2].columns) for _, _, table in usable):
        return usable, []
    sets = Counter(frozenset(table.columns) for _, _, table in usable)
    chosen = max(sets, key=lambda cases: (sets[cases], len(cases)))
    kept = [one for one in usable if frozenset(one[2].columns) == chosen]
    others = [label for label, _, table in usable if frozenset(table.columns) != chosen]
    return kept, [f"{label}: tested on other cases than most methods" for label in others]


def _same_runs(usable: list[Scores]) -> tuple[list[Scores], list[str]]:
    """Keep the most runs that more than half of the methods have; name what is beyond or lacking.

    One method that is not through yet cuts nobody's runs, and is left out. Where no such half is,
    the runs that most methods have count, so that two methods are compared on what both have.
    """
    if all(table.index.equals(usable[0][2].index) for _, _, table in usable):
        return usable, []
    sets = {frozenset(table.index) for _, _, table in usable}

    def holders(runs: frozenset[object]) -> int:
        return sum(runs <= frozenset(table.index) for _, _, table in usable)

    common = [runs for runs in sets if 2 * holders(runs) > len(usable) and holders(runs) > 1]
    order = sorted(sets, key=lambda runs: sorted(map(str, runs)))
    chosen = (
        max((runs for runs in order if runs in common), key=len)
        if common
        else max(order, key=lambda runs: (holders(runs), len(runs)))
    )
    kept, notes = [], []
    for label, identity, table in usable:
        mine = table.index.isin(list(chosen))
        if mine.sum() < len(chosen):
            notes.append(f"{label}: lacks draws or seeds that most methods have")
            continue
        if not mine.all():
            beyond = {*table.index[~mine]}
            short_of = [name for name, _, other in usable if beyond - {*other.index}]
            notes.append(
                f"{label}: {len(beyond)} runs of draws or seeds that {' and '.join(short_of)}"
                f" lack{'s' * (len(short_of) == 1)}"
            )
        kept.append((label, identity, table[mine]))
    return kept, notes
