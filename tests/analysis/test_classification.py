"""Metrics of classification against counting by hand, and what the leaderboard makes of them."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl_bench.analysis import classification as cls
from medssl_bench.analysis import tables
from medssl_bench.analysis.leaderboard.page import build_report
from medssl_bench.errors import BenchError
from medssl_bench.store import Store

from .conftest import make_history, make_record, write_cell

NAMES = ("low", "middle", "high")


def rows(true: list[int], probabilities: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """A case table as ``stages.classify`` writes it."""
    return pd.DataFrame(
        [
            {
                "case": f"case_{place:02d}",
                "target": name,
                "status": "classified",
                "probability": float(probabilities[place, number]),
                "predicted": names[int(probabilities[place].argmax())],
                "true": names[right],
            }
            for place, right in enumerate(true)
            for number, name in enumerate(names)
        ]
    )


def two(scores: list[float]) -> np.ndarray:
    high = np.array(scores)
    return np.stack([1 - high, high], axis=1)


def pairs_won(scores: np.ndarray, positive: np.ndarray) -> float:
    """AUC by its meaning: the share of (positive, negative) pairs in order, ties half."""
    pairs = itertools.product(scores[positive], scores[~positive])
    return float(np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]))


def test_two_classes_by_hand() -> None:
    true = [0, 0, 0, 1, 1, 1, 1, 0]
    scores = [0.1, 0.6, 0.4, 0.4, 0.9, 0.7, 0.3, 0.2]
    found = cls.summarise(rows(true, two(scores), ("no", "yes")))
    right = np.array(true) == 1
    assert found["all"]["n"] == 8
    assert found["all"]["accuracy"] == 5 / 8
    assert found["all"]["auc"] == pytest.approx(pairs_won(np.array(scores), right))
    assert found["all"]["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))  # of class 1
    own = [s if t else 1 - s for s, t in zip(scores, true, strict=True)]
    assert found["all"]["log_loss"] == pytest.approx(-np.log(own).mean())
    assert found["yes"]["recall"] == 2 / 4 and found["yes"]["precision"] == pytest.approx(2 / 3)
    assert found["no"]["recall"] == 3 / 4 and found["no"]["n"] == 4
    assert found["no"]["auc"] == pytest.approx(found["yes"]["auc"])


def test_three_classes_are_averaged_one_against_the_rest() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 40)
    values = rng.dirichlet([1, 1, 1], 40)
    found = cls.summarise(rows([*true], values, NAMES))
    each = [pairs_won(values[:, k], true == k) for k in range(3)]
    assert found["all"]["auc"] == pytest.approx(np.mean(each))
    assert [found[name]["auc"] for name in NAMES] == pytest.approx(each)
    predicted = values.argmax(1)
    f1 = [
        2 * ((predicted == k) & (true == k)).sum() / ((predicted == k).sum() + (true == k).sum())
        for k in range(3)
    ]
    assert found["all"]["f1"] == pytest.approx(np.mean(f1))
    assert "macro" in cls.definitions(NAMES)["auc"] and "macro" in cls.definitions(NAMES)["f1"]
    assert "binary" in cls.definitions(("no", "yes"))["f1"]


def test_a_class_that_no_test_case_has_makes_auc_missing_and_not_zero() -> None:
    found = cls.summarise(rows([0, 0], two([0.2, 0.7]), ("no", "yes")))
    assert found["all"]["auc"] is None and found["all"]["f1"] is None
    assert found["all"]["accuracy"] == 0.5
    assert found["yes"] == {"n": 0, "auc": None, "recall": None, "precision": 0.0, "f1": None}
    values = np.array([[0.5, 0.2, 0.3], [0.1, 0.2, 0.7]])
    found = cls.summarise(rows([0, 2], values, NAMES))
    assert found["all"]["auc"] is None and found["all"]["f1"] is None
    assert found["low"]["auc"] == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probability": 0.9}, "add up to 1"),
        ({"probability": math.nan}, "add up to 1"),
        ({"true": "maybe"}, "no one true class"),
        ({"predicted": "no"}, "another class than the most probable"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change: dict[str, Any], said: str) -> None:
    table = rows([0, 1], two([0.2, 0.7]), ("no", "yes"))
    for column, value in change.items():
        table.loc[3, column] = value
    with pytest.raises(BenchError, match=said):
        cls.summarise(table)


def board_cases(scores: dict[tuple[str, int, int], list[float]], true: list[int]) -> pd.DataFrame:
    """The case tables of several runs of one task, by (method, draw, seed)."""
    parts = []
    for (method, draw, seed), values in scores.items():
        same = dict.fromkeys(tables.RUN, "x") | {"method": method, "draw": draw, "seed": seed}
        same |= {"task": "grade", "shots": "4"}
        parts.append(rows(true, two(values), ("no", "yes")).assign(**same))
    return pd.concat(parts, ignore_index=True)


def test_gain_is_the_paired_difference_of_accuracies() -> None:
    true = [0, 0, 1, 1]
    scores = {
        ("scratch", 0, 0): [0.2, 0.6, 0.3, 0.8],  # right, wrong, wrong, right
        ("scratch", 1, 0): [0.6, 0.6, 0.3, 0.8],  # wrong, wrong, wrong, right
        ("simmim", 0, 0): [0.2, 0.3, 0.4, 0.8],  # right, right, wrong, right
        ("simmim", 1, 0): [0.2, 0.6, 0.7, 0.8],  # right, wrong, right, right
    }
    board = cls.leaderboard(board_cases(scores, true)).set_index("method")
    assert board.loc["scratch", "accuracy"] == (2 / 4 + 1 / 4) / 2
    assert board.loc["simmim", "accuracy"] == 3 / 4
    difference = np.array([[0, 1, 0, 0], [1, 0, 1, 0]])
    from medssl_bench.analysis.statistics import paired_interval

    interval = paired_interval(difference)
    row = board.loc["simmim"]
    assert row["gain"] == pytest.approx(3 / 8)
    assert (row["gain_low"], row["gain_high"]) == pytest.approx((interval.low, interval.high))
    assert (row["n_draws"], row["gain_cases"], row["smallest_class"]) == (2, 4, 2)
    aucs = [pairs_won(np.array(scores["simmim", d, 0]), np.array(true) == 1) for d in (0, 1)]
    assert row["auc"] == pytest.approx(np.mean(aucs))
    assert row["auc_sd"] == pytest.approx(np.std(aucs, ddof=1))
    assert not [name for name in board if "dice" in name or "hd95" in name]


def test_methods_that_no_case_tells_apart_have_no_interval() -> None:
    scores = {(name, 0, 0): [0.2, 0.6, 0.7, 0.8] for name in ("scratch", "simmim")}
    row = cls.leaderboard(board_cases(scores, [0, 0, 1, 1])).set_index("method").loc["simmim"]
    assert row["gain"] == 0 and row["gain_missing"] == ""
    assert math.isnan(row["gain_low"]) and math.isnan(row["gain_high"])


def test_one_page_shows_both_kinds_apart(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    write_cell(store, "scratch", "organs", "5", 0)
    names = ("no", "yes")
    for method, last in (("scratch", 0.4), ("simmim", 0.9)):
        record = make_record(method, "grade", "4", 0, definitions=cls.definitions(names))
        store.write(record, rows([0, 0, 1], two([0.1, 0.6, last]), names), make_history(0.7))
    page = build_report(tmp_path / "results", tmp_path / "report").read_text("utf-8")
    for text in ("Accuracy gain over scratch", "auc_binary/1", "AUC against shots", "dice/1"):
        assert text in page
    dice = pd.read_csv(tmp_path / "report" / "tables" / "leaderboard.csv")
    auc = pd.read_csv(tmp_path / "report" / "tables" / "classification.csv")
    assert set(dice["task"]) == {"organs"} and set(auc["task"]) == {"grade"}
    assert list(auc["method"]) == ["simmim", "scratch"]  # the better first
    assert "auc" not in dice and "dice" not in auc
