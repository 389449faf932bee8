"""Two areas under the ROC curve on the same cases: DeLong's variance, pair by pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from medssl_bench.analysis import classification
from medssl_bench.analysis.leaderboard.pairs import compare_all
from medssl_bench.analysis.statistics.areas import placements
from medssl_bench.analysis.statistics.panel import AREA, panels_of
from medssl_bench.analysis.tables import IDENTITY


def wins(score: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return psi of every pair (positive, negative): 1 if ordered rightly, half if equal."""
    ours, theirs = score[true][:, None], score[~true][None]
    return (ours > theirs) + 0.5 * (ours == theirs)


def variance_of_difference(first: np.ndarray, second: np.ndarray, true: np.ndarray) -> float:
    """Return DeLong's variance of the areas' difference, by equations 4 to 6 of the paper."""
    gap = wins(first, true) - wins(second, true)
    of_positives, of_negatives = gap.mean(axis=1), gap.mean(axis=0)
    return float(
        of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)
    )


@pytest.mark.parametrize(("positives", "negatives"), [(2, 9), (12, 5), (30, 30)])
def test_mean_and_variance_are_the_area_and_delongs(positives: int, negatives: int) -> None:
    rng = np.random.default_rng(positives)
    true = rng.permutation(np.repeat([True, False], [positives, negatives]))
    first, second = (np.round(rng.normal(true * 0.8, 1), 1) for _ in range(2))
    ours, theirs = (placements(true, score) for score in (first, second))
    assert ours.mean() == pytest.approx(roc_auc_score(true, first))
    assert theirs.mean() == pytest.approx(roc_auc_score(true, second))
    found = (ours - theirs).var(ddof=1) / len(true)
    assert found == pytest.approx(variance_of_difference(first, second, true), rel=1e-9)


def test_a_class_of_one_case_has_no_variance() -> None:
    with pytest.raises(ValueError, match="two cases of each kind"):
        placements(np.array([True, False, False]), np.array([0.5, 0.2, 0.9]))


def rows(method: str, draw: int, true: list[str], probabilities: np.ndarray) -> pd.DataFrame:
    """Return the case table of a run; classes are named by the columns of ``probabilities``."""
    names = ["a", "b", "c"][: probabilities.shape[1]]
    words = dict.fromkeys(IDENTITY, "x") | {"method": method}
    return pd.DataFrame(
        [
            {
                **words, "task": "t", "shots": "5", "draw": draw, "seed": 0, "case": f"c{place}",
                "target": name, "status": "classified", "probability": chances[index],
                "predicted": names[int(chances.argmax())], "true": true[place],
            }
            for place, chances in enumerate(probabilities)
            for index, name in enumerate(names)
        ]
    )  # fmt: skip


def cases(classes: int, draws: int, number: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(classes)
    true = [["a", "b", "c"][place % classes] for place in range(number)]
    right = np.eye(classes)[[place % classes for place in range(number)]]
    made = []
    for draw in range(draws):
        for method, skill in (("one", 0.4), ("two", 0.9)):
            raw = rng.random((number, classes)) + skill * right
            made.append(rows(method, draw, true, raw / raw.sum(axis=1, keepdims=True)))
    return pd.concat(made, ignore_index=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_pairs_of_a_classification_task(classes: int) -> None:
    table = cases(classes, draws=2)
    (board,) = compare_all(panels_of(classification.placed(table), AREA))
    told = classification.leaderboard(table).set_index("method")["auc"]
    (pair,) = board.pairs
    assert pair.mean == pytest.approx(told[pair.first] - told[pair.second])
    assert pair.low < pair.mean < pair.high and 0 < pair.p <= 1
    assert pair.wins is pair.ties is pair.losses is None and pair.effect != pair.effect
    assert "draw" in board.test and board.statistic == "Mean difference"


def test_one_draw_is_delongs_test() -> None:
    table = cases(2, draws=1)
    (board,) = compare_all(panels_of(classification.placed(table), AREA))
    (pair,) = board.pairs
    wide = table[table["target"] == "b"].pivot(index="case", columns="method", values="probability")
    true = table.drop_duplicates("case").set_index("case")["true"].loc[wide.index] == "b"
    first, second = (wide[name].to_numpy(float) for name in (pair.first, pair.second))
    variance = variance_of_difference(first, second, true.to_numpy())
    reach = stats.t.ppf(0.975, len(wide) - 1) * np.sqrt(variance)
    assert pair.high - pair.mean == pytest.approx(reach)
    assert pair.p == pytest.approx(
        2 * stats.t.sf(abs(pair.mean) / np.sqrt(variance), len(wide) - 1)
    )
    assert board.test.startswith("DeLong")


def test_a_class_with_one_test_case_is_compared_with_nobody() -> None:
    table = cases(2, draws=1)
    only = table[(table["true"] == "a") | (table["case"] == "c1")]
    assert panels_of(classification.placed(only), AREA) == []
