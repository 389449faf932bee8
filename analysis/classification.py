"""Accuracy, AUC and F1 of volume classification, and their leaderboard.

The case table of a classification run has one row per (case, class): ``target`` is the class,
``probability`` the network's, ``predicted`` and ``true`` the names of the most probable and of the
right class, and ``status`` is ``classified``, by which these rows are known. Nothing here is ever
averaged with Dice.

A run is one (draw, seed); its metrics are of all its test cases together. They are averaged over
the seeds of a draw, then over draws. The gain over scratch is a difference of accuracies, since
only being right or wrong is known of each case: AUC and F1 belong to a test set. AUCs of two
methods are compared by DeLong's placements (:func:`placed`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl_bench.analysis import tables
from medssl_bench.analysis.tables import RUN, as_words
from medssl_bench.errors import BenchError

CLASSIFIED = "classified"
"""The status of a classified case."""

METRICS = ("accuracy", "auc", "f1", "log_loss")
NEEDED = ("case", "target", "status", "probability", "predicted", "true")


def definitions(classes: Sequence[str]) -> dict[str, str]:
    """Name the definition and version behind each metric, for the record.

    ``classes`` are names in the order of their ids; of two, the second is the positive one.
    """
    macro = "unweighted mean over classes"
    gone = "missing where the test cases lack a class"
    two = len(classes) == 2
    return {
        "accuracy": "accuracy/1: share of test cases whose most probable class (the first of equal"
        " ones) is the true one",
        "auc": f"auc_binary/1: area under the ROC curve of the probability of {classes[1]}; {gone}"
        if two
        else f"auc_macro_ovr/1: areas under the one-vs-rest ROC curves, {macro}; {gone}",
        "f1": f"f1_binary/1: F1 of {classes[1]}, the positive class; missing where no test case"
        " has it"
        if two
        else f"f1_macro/1: F1 of each class, {macro}, 0 where none of it is found; {gone}",
        "log_loss": "log_loss/1: mean over test cases of minus the logarithm of the true class's"
        " probability (at least 2.2e-16)",
        "aggregation": "test_set/1: metrics of all test cases of a run together",
    }


def summarise(rows: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Return the metrics of one run: ``all`` of them, and for each class one against the rest.

    ``all`` has ``METRICS`` and ``n`` (cases); a class has ``n``, ``auc``, ``recall``, ``precision``
    and ``f1``. Missing is None.

    Raises:
        BenchError: The table contradicts itself.
    """
    classes, true, probabilities = _grids(_checked(rows))
    everything: dict[str, float | int | None] = {"n": len(true)}
    everything |= {
        name: _plain(value) for name, value in measure(true, probabilities, len(classes)).items()
    }
    summary = {"all": everything}
    predicted = probabilities.argmax(1)
    for number, name in enumerate(classes):
        summary[name] = _one_against_rest(
            true == number, predicted == number, probabilities[:, number]
        )
    return summary


def measure(
    true: NDArray[np.integer], probabilities: NDArray[np.floating], classes: int
) -> dict[str, float]:
    """Return ``METRICS`` of one run by scikit-learn; NaN where missing (see ``definitions``).

    Args:
        true: Class ids ``(N,)``.
        probabilities: ``(N, K)``.
        classes: K, at least 2.
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

    predicted = probabilities.argmax(1)
    ids = np.arange(classes)
    complete = len(np.unique(true)) == classes
    if classes == 2:
        auc = roc_auc_score(true, probabilities[:, 1]) if complete else math.nan
        f1 = f1_score(true, predicted, zero_division=0) if (true == 1).any() else math.nan
    else:
        each = [roc_auc_score(true == k, probabilities[:, k]) for k in ids if complete]
        auc = float(np.mean(each)) if complete else math.nan
        f1 = (
            f1_score(true, predicted, labels=ids, average="macro", zero_division=0)
            if complete
            else math.nan
        )
    return {
        "accuracy": float(accuracy_score(true, predicted)),
        "auc": float(auc),
        "f1": float(f1),
        "log_loss": float(log_loss(true, probabilities, labels=ids)),
    }


def _one_against_rest(
    true: NDArray[np.bool_], predicted: NDArray[np.bool_], probability: NDArray[np.floating]
) -> dict[str, float | int | None]:
    from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

    found, told = bool(true.any()), bool(predicted.any())
    return {
        "n": int(true.sum()),
        "auc": float(roc_auc_score(true, probability)) if found and not true.all() else None,
        "recall": float(recall_score(true, predicted)) if found else None,
        "precision": float(precision_score(true, predicted)) if told else None,
        "f1": float(f1_score(true, predicted, zero_division=0)) if found else None,
    }


def is_classified(cases: pd.DataFrame) -> pd.Series[bool]:
    """Tell which rows of a case table are of classification."""
    return cases["status"] == CLASSIFIED


def leaderboard(cases: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (identity, task, shots), best AUC first within each task and shots.

    Columns: each of ``METRICS`` and its ``_sd`` over runs (NaN with one run), ``n_runs``,
    ``n_draws``, ``n_seeds``, ``n_cases``, ``smallest_class`` (test cases of the rarest class), and
    the paired difference of accuracies to the baseline: ``gain``, ``gain_low``, ``gain_high``,
    ``gain_draws``, ``gain_cases``, ``gain_missing`` (why there is none).

    Raises:
        BenchError: The table contradicts itself.
    """
    keys = [*RUN, "case", "target", "predicted", "true"]
    table = as_words(cases[is_classified(cases)], keys)
    runs = []
    for key, rows in table.groupby(RUN, sort=False):
        classes, true, probabilities = _grids(_checked(rows))
        runs.append(
            {
                **dict(zip(RUN, key, strict=True)),
                **measure(true, probabilities, len(classes)),
                "n_cases": len(true),
                "smallest_class": int(np.bincount(true, minlength=len(classes)).min()),
            }
        )
    board = _summarise_runs(pd.DataFrame(runs))
    correct = _correctness(table)
    gains = tables.paired_gains(board, correct, "correct")
    # Where no case tells the two apart there is no variance to make an interval of.
    alike = gains["gain_low"] == gains["gain_high"]
    gains.loc[alike, ["gain_low", "gain_high"]] = math.nan
    return tables.sort_board(board.join(gains), "auc")


def placed(cases: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (run, case): ``value``, the mean of which is the run's AUC.

    Of several classes it is the mean of each against the rest. How values spread over cases is how
    sure the AUC is (see :func:`medssl_bench.analysis.statistics.areas.placements`). Runs of test
    cases with fewer than two of a class have none.
    """
    from medssl_bench.analysis.statistics.areas import placements  # it takes SciPy's statistics

    keys = [*RUN, "case", "target", "predicted", "true"]
    table = as_words(cases[is_classified(cases)], keys)
    parts = []
    for _, rows in table.groupby(RUN, sort=False):
        classes, true, probabilities = _grids(_checked(rows))
        if np.bincount(true, minlength=len(classes)).min() < 2:
            continue
        asked = range(len(classes)) if len(classes) > 2 else (1,)
        values = [placements(true == one, probabilities[:, one]) for one in asked]
        once = rows.drop_duplicates("case").sort_values("case")
        parts.append(once[[*RUN, "case"]].assign(value=np.mean(values, axis=0)))
    return pd.concat(parts) if parts else pd.DataFrame(columns=[*RUN, "case", "value"])


def _summarise_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Average runs over seeds, then over draws; a metric missing in a run is missing."""
    names = [*METRICS]

    def mean(groups: Any) -> pd.DataFrame:
        found: pd.DataFrame = groups[names].agg(lambda values: values.mean(skipna=False))
        return found

    draws = mean(runs.groupby([*tables.ROW, "draw"], sort=False))
    means = mean(draws.groupby(tables.ROW, sort=False))
    groups = runs.groupby(tables.ROW, sort=False)
    spread = groups[names].std().add_suffix("_sd")
    rest = groups.agg(
        n_runs=("accuracy", "size"),
        n_draws=("draw", "nunique"),
        n_seeds=("seed", "nunique"),
        n_cases=("n_cases", "max"),
        smallest_class=("smallest_class", "min"),
    )
    return means.join(spread).join(rest).reset_index()


def _correctness(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per (run, case): ``correct`` is 1.0 where the class was found, else 0.0."""
    once = table.drop_duplicates([*RUN, "case"])
    return once.assign(correct=(once["predicted"] == once["true"]).astype(float))


def _grids(
    table: pd.DataFrame,
) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
    """Return the classes in order, true ids ``(N,)`` and probabilities ``(N, K)`` of one run."""
    classes = list(dict.fromkeys(table["target"].astype(str)))
    wide = table.pivot(index="case", columns="target", values="probability")[classes]
    true = table.drop_duplicates("case").set_index("case")["true"].loc[wide.index]
    numbers = {name: number for number, name in enumerate(classes)}
    ids = np.array([numbers[name] for name in true], dtype=np.int64)
    return classes, ids, np.asarray(wide, dtype=np.float64)


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    """Refuse a run's table that contradicts itself."""
    lacking = [column for column in NEEDED if column not in rows.columns]
    if lacking:
        raise BenchError(f"case table: no column {', '.join(lacking)}")
    table = rows[[*NEEDED]]
    if table.duplicated(["case", "target"]).any():
        row = table[table.duplicated(["case", "target"])].iloc[0]
        raise BenchError(f"case table: case {row['case']!r}, class {row['target']!r} stands twice")
    classes = {*table["target"]}
    for case, group in table.groupby("case", sort=False):
        values = group["probability"].to_numpy(np.float64)
        if {*group["target"]} != classes or not abs(values.sum() - 1) < 1e-5:
            raise BenchError(f"case table: case {case!r} has no probabilities that add up to 1")
        if group["true"].nunique() != 1 or group["true"].iloc[0] not in classes:
            raise BenchError(f"case table: case {case!r} has no one true class")
        if (group["predicted"] != group["target"].iloc[int(values.argmax())]).any():
            raise BenchError(f"case table: case {case!r}: another class than the most probable")
    return table


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
