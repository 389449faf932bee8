"""The leaderboard, computed from the case table alone.

Order of aggregation: targets of a case -> cases of a run -> seeds of a draw -> draws. A run is one
(draw, seed). Only targets present in the reference count towards Dice and HD95; false organs are
counted apart. A missed target scores Dice 0 and, as its distance, the image's physical diagonal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medssl_bench.errors import BenchError

BASELINE = "scratch"
IDENTITY = [
    *("method", "backbone", "corpus", "corpus_size", "pretrain_crop", "pretraining"),
    *("pretrain_seed", "profile", "protocol", "tuning"),
]
"""What makes a row of its own; nothing that differs in any of these is ever averaged."""
ROW = [*IDENTITY, "task", "shots"]
RUN = [*ROW, "draw", "seed"]
STATUSES = ("ok", "both_empty", "pred_empty", "ref_empty")
COMPARABLE = ["task", "shots", "backbone", "protocol", "profile"]
"""What a method and the baseline must share before their difference is taken."""
MOST_NUMBERS = 2**62
"""Of groups of rows, before a number takes more than 64 bits."""


def shots_order(shots: str) -> tuple[int, float]:
    """Sort key of shots: counts, then shares, then ``full``."""
    if shots == "full":
        return (2, 0.0)
    if shots.endswith("%"):
        return (1, float(shots[:-1]))
    return (0, float(shots))


def prepare(cases: pd.DataFrame) -> pd.DataFrame:
    """Check a case table and add what aggregation needs, one row per (run, case, target).

    Adds ``present`` (target in the reference), ``miss`` (present, none predicted), ``false``
    (absent, yet predicted), and replaces ``dice`` and ``hd95`` (mm) by the values that count:
    the diagonal for a miss, NaN for a target that is absent. Raises BenchError where the table
    contradicts itself.
    """
    needed = [*RUN, "case", "target", "dice", "hd95", "status", "diagonal_mm"]
    lacking = [column for column in needed if column not in cases.columns]
    if lacking:
        raise BenchError(f"case table: no column {', '.join(lacking)}")
    keys = [*RUN, "case", "target"]
    table = as_categories(cases[needed], keys)
    unknown = sorted(set(table["status"].unique()) - set(STATUSES))
    if unknown:
        raise BenchError(f"case table: unknown status {unknown[0]!r}; known: {', '.join(STATUSES)}")
    twice = table.duplicated(keys)
    if twice.any():
        row = table[twice].iloc[0]
        raise BenchError(
            f"case table: {row['method']} on {row['task']}, {row['shots']} shots, draw"
            f" {row['draw']}, seed {row['seed']}: case {row['case']!r}, target {row['target']!r}"
            " stands twice"
        )
    status = table["status"]
    table["miss"] = status == "pred_empty"
    table["false"] = status == "ref_empty"
    table["present"] = table["miss"] | (status == "ok")
    table["hd95"] = table["hd95"].where(~table["miss"], table["diagonal_mm"]).astype(float)
    for name in ("dice", "hd95"):
        table[name] = table[name].where(table["present"])
        wrong = table["present"] & ~np.isfinite(table[name].astype(float))
        if wrong.any():
            row = table[wrong].iloc[0]
            raise BenchError(
                f"case table: {row['method']} on {row['task']}: case {row['case']!r}, target"
                f" {row['target']!r} has status {row['status']} but no {name}"
                + (" (its diagonal_mm is missing)" if name == "hd95" and row["miss"] else "")
            )
    return table


def as_words(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table with these columns as text: missing is empty, 1.0 is ``1``."""
    words = {}
    for name in columns:
        codes, values = pd.factorize(table[name], use_na_sentinel=False)
        words[name] = _spelt(values).take(codes).set_axis(table.index)
    return table.assign(**words)


def as_categories(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table with these columns as :func:`as_words` spells them, in their order.

    Grouping many rows by categories is several times faster than by text.
    """
    words = {}
    for name in columns:
        codes, values = pd.factorize(table[name], use_na_sentinel=False)
        places, known = pd.factorize(_spelt(values), sort=True)
        words[name] = pd.Categorical.from_codes(places[codes], known)
    return table.assign(**words)


def number_groups(table: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Number rows that agree in these columns, in order of appearance.

    Grouping by this number is many times faster than by a dozen columns of text.

    Returns:
        Of each row its group, and of each group its first row.
    """
    codes, count = np.zeros(len(table), np.int64), 1
    for name in columns:
        own, size = _numbered(table[name])
        if count * size > MOST_NUMBERS:
            codes, known = pd.factorize(codes)
            count = len(known)
        codes, count = codes * size + own, count * size
    codes, _ = pd.factorize(codes)
    first = np.flatnonzero(np.diff(np.maximum.accumulate(codes), prepend=-1))
    return codes, first


def _numbered(column: pd.Series[Any]) -> tuple[np.ndarray, int]:
    """Return a number for each value of a column, and how many numbers there may be."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(np.int64) + 1, len(column.cat.categories) + 1
    codes, values = pd.factorize(column, use_na_sentinel=False)
    return codes, max(len(values), 1)


def _spelt(values: Iterable[object]) -> pd.Series[str]:
    return pd.Series([_word(value) for value in values], dtype="str")


def _word(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def case_scores(prepared: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Average the present targets of each case; one row per (run, case) and ``by``."""
    return aggregate(
        prepared,
        [*RUN, *by, "case"],
        dice=("dice", "mean"),
        hd95=("hd95", "mean"),
        present=("present", "sum"),
        misses=("miss", "sum"),
        targets=("target", "size"),
        false_positives=("false", "sum"),
    )


def run_scores(scores: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Average the test cases of each run; cases without any present target do not count."""
    return aggregate(
        scores.assign(scored=scores["present"] > 0),
        [*RUN, *by],
        dice=("dice", "mean"),
        hd95=("hd95", "mean"),
        n_cases=("scored", "sum"),
        present=("present", "sum"),
        misses=("misses", "sum"),
        absent=("targets", "sum"),
        false_positives=("false_positives", "sum"),
    )


def aggregate(table: pd.DataFrame, keys: Sequence[str], **columns: tuple[str, str]) -> pd.DataFrame:
    """Group by ``keys``, in order of appearance; as pandas' own named aggregation."""
    codes, first = number_groups(table, keys)
    found = table.groupby(codes, sort=True).agg(**columns)
    return pd.concat([table[list(keys)].iloc[first].reset_index(drop=True), found], axis=1)


def mean_table(rows: ArrayLike, columns: ArrayLike, values: np.ndarray) -> pd.DataFrame:
    """Average values by row and column, both in order; NaN where there is none.

    As a group-by whose second key is unstacked, and faster on the few rows of one method.
    """
    places, index = pd.factorize(rows, sort=True)  # type: ignore[call-overload]
    spots, names = pd.factorize(columns, sort=True)  # type: ignore[call-overload]
    means = pd.Series(values).groupby(places * len(names) + spots).mean()
    table = np.full((len(index), len(names)), np.nan)
    table.flat[means.index] = means
    return pd.DataFrame(table, index, names, copy=False)


def summarise_runs(runs: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Average runs over seeds, then over draws; spread is the standard deviation over runs.

    With one run there is no spread (NaN), never a spread of zero.
    """
    keys = [*ROW, *by]
    draws = runs.groupby([*keys, "draw"], sort=False)[["dice", "hd95"]].mean()
    means = draws.groupby(keys, sort=False).mean()
    groups = runs.groupby(keys, sort=False)
    rest = groups.agg(
        dice_sd=("dice", "std"),
        hd95_sd=("hd95", "std"),
        n_runs=("dice", "size"),
        n_draws=("draw", "nunique"),
        n_seeds=("seed", "nunique"),
        n_cases=("n_cases", "max"),
        present=("present", "sum"),
        misses=("misses", "sum"),
        absent=("absent", "sum"),
        false_positives=("false_positives", "sum"),
    )
    rest["absent"] -= rest["present"]
    return as_words(means.join(rest).reset_index(), keys)


def leaderboard(cases: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (identity, task, shots), best Dice first within each task and shots.

    Columns: ``dice``, ``dice_sd``, ``hd95``, ``hd95_sd`` (mm), ``n_runs``, ``n_draws``,
    ``n_seeds``, ``n_cases``, ``present`` and ``misses`` (targets, over all runs), ``absent`` and
    ``false_positives``, and the paired Dice difference to the baseline with its 95 % interval:
    ``gain``, ``gain_low``, ``gain_high``, ``gain_draws``, ``gain_cases``, ``gain_missing`` (why
    there is none).
    """
    return board_of(prepare(cases))


def board_of(prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the leaderboard of a prepared case table (see :func:`leaderboard`)."""
    scores = case_scores(prepared)
    table = summarise_runs(run_scores(scores))
    table = table.join(paired_gains(table, scores[scores["present"] > 0], "dice"))
    return sort_board(table, "dice")


def target_table(cases: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (identity, task, shots, target), with the columns of a summary."""
    return targets_of(prepare(cases))


def targets_of(prepared: pd.DataFrame) -> pd.DataFrame:
    """Return the target table of a prepared case table (see :func:`target_table`)."""
    scores = case_scores(prepared, by=["target"])
    runs = run_scores(scores, by=["target"])
    return sort_board(summarise_runs(runs, by=["target"]), "dice")


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each row as a dictionary by column name."""
    # As objects, since text hands out its words one by one, and slowly.
    columns = {str(name): column.astype(object).tolist() for name, column in table.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def target_order(cases: pd.DataFrame) -> dict[str, list[str]]:
    """Return each task's targets in the order of its classes, which is that of the case table."""
    pairs = cases[["task", "target"]].drop_duplicates().astype(str)
    return {str(task): list(rows["target"]) for task, rows in pairs.groupby("task", sort=False)}


def sort_board(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Sort by task and shots, within them by a metric, the greatest first."""
    order = table["shots"].map(shots_order)
    return (
        table.assign(_order=order)
        .sort_values(
            ["task", "_order", metric, *IDENTITY],
            ascending=[True, True, False, *[True] * len(IDENTITY)],
        )
        .drop(columns="_order")
        .reset_index(drop=True)
    )


def paired_gains(table: pd.DataFrame, scores: pd.DataFrame, value: str) -> pd.DataFrame:
    """Pair every row with the baseline's row by draw and case, seeds averaged first.

    Args:
        table: The leaderboard, one row per (identity, task, shots).
        scores: One row per (run, case) that counts.
        value: The column of ``scores`` whose mean difference is taken.

    Returns:
        ``gain``, ``gain_low``, ``gain_high``, ``gain_draws``, ``gain_cases``, ``gain_missing``,
        with the index of ``table``.
    """
    codes, first = number_groups(scores, ROW)
    names = map(tuple, scores[ROW].iloc[first].to_numpy())
    groups = scores[["draw", "seed", "case", value]].groupby(codes, sort=True)
    runs = {name: _Scores(mine, value) for name, (_, mine) in zip(names, groups, strict=True)}
    rows = rows_of(table)
    baselines: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["method"] == BASELINE:
            baselines.setdefault(tuple(row[key] for key in COMPARABLE), []).append(row)
    gains = [
        _paired_gain(row, baselines.get(tuple(row[key] for key in COMPARABLE), []), runs)
        for row in rows
    ]
    return pd.DataFrame(gains, index=table.index)


@dataclass(frozen=True)
class _Scores:
    """What one row of the leaderboard has of each run and case."""

    table: pd.DataFrame
    value: str

    @cached_property
    def runs(self) -> set[tuple[str, str]]:
        """Its draws and seeds."""
        return set(zip(self.table["draw"], self.table["seed"], strict=True))

    @cached_property
    def grid(self) -> pd.DataFrame:
        """The value as ``(draws, cases)``, averaged over seeds."""
        values = self.table[self.value].to_numpy(float)
        return mean_table(self.table["draw"], self.table["case"], values)


def _paired_gain(
    row: dict[str, Any],
    found: Sequence[dict[str, Any]],
    runs: Mapping[tuple[Any, ...], _Scores],
) -> dict[str, Any]:
    """Pair a row with the baseline's row; ``found`` are those, ``runs`` the scores of each row."""
    if row["method"] == BASELINE:
        return _no_gain("this row is the baseline")
    if len(found) != 1:
        count = "no" if not found else f"{len(found)}"
        return _no_gain(f"{count} {BASELINE} row of the same task, shots, backbone and protocol")
    mine, base = (runs.get(tuple(one[key] for key in ROW)) for one in (row, found[0]))
    if mine is None or base is None:
        return _no_gain("draws were measured on different cases")
    ours, theirs = mine.grid, base.grid
    if not ours.index.equals(theirs.index):
        return _no_gain(f"{BASELINE} was run on other draws")
    if mine.runs != base.runs:
        return _no_gain(f"{BASELINE} was run with other seeds")
    if not ours.columns.equals(theirs.columns):
        return _no_gain(f"{BASELINE} was measured on other cases")
    difference = (ours - theirs).to_numpy()
    if difference.size == 0 or not np.isfinite(difference).all():
        return _no_gain("draws were measured on different cases")
    from medssl_bench.analysis.statistics import paired_interval  # it takes SciPy's statistics

    interval = paired_interval(difference)
    return {
        "gain": interval.mean,
        "gain_low": interval.low,
        "gain_high": interval.high,
        "gain_draws": interval.n_draws,
        "gain_cases": interval.n_cases,
        "gain_missing": "",
    }


def _no_gain(reason: str) -> dict[str, Any]:
    empty = dict.fromkeys(("gain", "gain_low", "gain_high"), np.nan)
    return {**empty, "gain_draws": 0, "gain_cases": 0, "gain_missing": reason}
