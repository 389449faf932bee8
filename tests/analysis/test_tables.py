"""The leaderboard's numbers against values worked out by hand or by plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from medssl_bench.analysis.metrics import summarise
from medssl_bench.analysis.statistics import paired_interval
from medssl_bench.analysis.tables import leaderboard, prepare, shots_order, target_table
from medssl_bench.errors import BenchError


def row(
    case: str = "a", target: str = "liver", dice: float = 0.5, **changes: Any
) -> dict[str, Any]:
    plain = {
        "method": "scratch",
        "backbone": "swin_tiny",
        "corpus": None,
        "corpus_size": None,
        "pretrain_crop": None,
        "pretraining": "none",
        "pretrain_seed": None,
        "profile": "demo",
        "protocol": "p",
        "tuning": "",
        "task": "t",
        "shots": "5",
        "draw": 0,
        "seed": 0,
        "hd95": 10.0,
        "status": "ok",
        "diagonal_mm": 200.0,
    }
    return {**plain, "case": case, "target": target, "dice": dice, **changes}


def board(*rows: dict[str, Any]) -> pd.DataFrame:
    return leaderboard(pd.DataFrame(rows))


def test_targets_are_averaged_before_cases() -> None:
    # Case a has two targets, case b one: (mean(0.2, 0.4) + 0.9) / 2, not the mean of three numbers.
    found = board(row("a", "liver", 0.2), row("a", "spleen", 0.4), row("b", "liver", 0.9)).iloc[0]
    assert found["dice"] == pytest.approx(0.6)
    assert found["n_cases"] == 2


def test_a_miss_is_dice_zero_and_the_diagonal() -> None:
    missed = row("a", "spleen", 0.0, hd95=math.inf, status="pred_empty")
    found = board(row("a", "liver", 0.8), missed).iloc[0]
    assert found["dice"] == pytest.approx(0.4)
    assert found["hd95"] == pytest.approx((10 + 200) / 2)
    assert (found["misses"], found["present"]) == (1, 2)


def test_targets_absent_from_the_reference_change_no_mean() -> None:
    false = row("a", "spleen", 0.0, hd95=math.inf, status="ref_empty")
    absent = row("a", "lesion", math.nan, hd95=math.nan, status="both_empty")
    found = board(row("a", "liver", 0.8), false, absent).iloc[0]
    assert (found["dice"], found["hd95"]) == (0.8, 10.0)
    assert (found["misses"], found["false_positives"], found["absent"]) == (0, 1, 2)


def test_a_case_without_targets_does_not_count() -> None:
    empty = row("b", "liver", math.nan, hd95=math.nan, status="both_empty")
    found = board(row("a", "liver", 0.8), empty).iloc[0]
    assert (found["dice"], found["n_cases"]) == (0.8, 1)


def test_seeds_are_averaged_within_a_draw_before_draws() -> None:
    found = board(
        row(dice=0.2, draw=0, seed=0), row(dice=0.4, draw=0, seed=1), row(dice=0.9, draw=1)
    ).iloc[0]
    assert found["dice"] == pytest.approx((0.3 + 0.9) / 2)
    assert found["dice_sd"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert (found["n_runs"], found["n_draws"], found["n_seeds"]) == (3, 2, 2)


def test_one_run_has_no_spread() -> None:
    assert math.isnan(board(row()).iloc[0]["dice_sd"])


@pytest.mark.parametrize(
    "name",
    [
        *("backbone", "corpus", "corpus_size", "pretrain_crop", "pretraining", "pretrain_seed"),
        *("profile", "protocol", "tuning"),
    ],
)
def test_rows_never_mix(name: str) -> None:
    found = board(row(dice=0.2), row(dice=0.8, **{name: 7}))
    assert sorted(found["dice"]) == [0.2, 0.8]


@pytest.mark.parametrize("method", ["scratch", "smit"])
def test_one_run_agrees_with_its_record(case_table: pd.DataFrame, method: str) -> None:
    chosen = (case_table["method"] == method) & (case_table["draw"] == 1)
    run = case_table[chosen & (case_table["task"] == "phantom_ct")]
    expected = summarise(run)
    found = leaderboard(run).iloc[0]
    assert found["dice"] == pytest.approx(expected["mean"]["dice_mean"])
    assert found["hd95"] == pytest.approx(expected["mean"]["hd95_mean"])
    for name in ("misses", "false_positives"):
        assert found[name] == expected["mean"][name]
    for target, one in target_table(run).set_index("target").iterrows():
        assert one["dice"] == pytest.approx(expected["targets"][target]["dice_mean"])
        assert one["hd95"] == pytest.approx(expected["targets"][target]["hd95_mean"])
        assert one["n_cases"] == expected["targets"][target]["dice_n"]


def pretrained(case: str, dice: float, **changes: Any) -> dict[str, Any]:
    return row(case, dice=dice, method="simmim", corpus="c", pretraining="k", **changes)


def test_gain_is_the_difference_of_the_two_rows() -> None:
    rng = np.random.default_rng(0)
    rows = [
        make(case, dice=rng.uniform(low, low + 0.3), draw=draw, seed=seed)
        for make, low in ((row, 0.4), (pretrained, 0.5))
        for case in "abcde"
        for draw in range(3)
        for seed in range(2)
    ]
    found = board(*rows).set_index("method")
    gain = found.loc["simmim"]
    assert gain["gain"] == pytest.approx(gain["dice"] - found.loc["scratch", "dice"])
    assert gain["gain_low"] < gain["gain"] < gain["gain_high"]
    assert (gain["gain_draws"], gain["gain_cases"]) == (3, 5)
    assert "baseline" in found.loc["scratch", "gain_missing"]


@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        ([row("a", protocol="other")], "no scratch row"),
        ([row("a", backbone="other")], "no scratch row"),
        ([row("a", profile="other")], "no scratch row"),
        ([row("a", draw=1)], "other draws"),
        ([row("b")], "other cases"),
        ([row("a"), row("a", pretrain_seed=1)], "2 scratch rows"),
    ],
)
def test_no_gain_unless_everything_pairs(baseline: list[dict[str, Any]], reason: str) -> None:
    found = board(pretrained("a", 0.9), *baseline).set_index("method").loc["simmim"]
    assert math.isnan(found["gain"]) and reason.removesuffix("s") in found["gain_missing"]


def test_no_gain_when_draws_saw_different_cases() -> None:
    pairs = [("a", 0), ("b", 1)]
    rows = [make(case, dice=0.5, draw=draw) for make in (row, pretrained) for case, draw in pairs]
    found = board(*rows).set_index("method").loc["simmim"]
    assert "different cases" in found["gain_missing"]


def test_shots_are_ordered_counts_shares_full() -> None:
    shots = ["full", "20%", "10", "5", "5%", "100"]
    assert sorted(shots, key=shots_order) == ["5", "10", "100", "5%", "20%", "full"]
    assert list(board(*(row(shots=one) for one in shots))["shots"]) == sorted(
        shots, key=shots_order
    )


def test_target_table_has_each_target_over_its_cases() -> None:
    absent = row("b", "spleen", math.nan, hd95=math.nan, status="both_empty")
    rows = [row("a", "liver", 0.2), row("b", "liver", 0.4), row("a", "spleen", 0.9), absent]
    found = target_table(pd.DataFrame(rows)).set_index("target")
    assert found.loc["liver", "dice"] == pytest.approx(0.3)
    assert (found.loc["spleen", "dice"], found.loc["spleen", "n_cases"]) == (0.9, 1)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(), row()], "stands twice"),
        ([row(status="fine")], "unknown status 'fine'"),
        ([row(dice=math.nan)], "no dice"),
        ([row(status="pred_empty", dice=0.0, diagonal_mm=math.nan)], "diagonal_mm is missing"),
        ([row(hd95=math.inf)], "no hd95"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        prepare(pd.DataFrame(rows))


def test_a_table_without_a_column_is_refused() -> None:
    with pytest.raises(BenchError, match="no column dice"):
        prepare(pd.DataFrame([row()]).drop(columns="dice"))


def test_no_gain_over_other_seeds() -> None:
    rows = [row("a", dice=0.5), row("b", dice=0.5)]
    for seed, dice in ((0, 0.5), (1, 0.7)):
        words = {"method": "smit", "corpus": "c", "pretraining": "k", "seed": seed}
        rows += [row("a", dice=dice, **words), row("b", dice=dice, **words)]
    found = board(*rows).set_index("method").loc["smit"]
    assert math.isnan(found["gain"]) and found["gain_missing"] == "scratch was run with other seeds"


def test_one_draw_has_the_t_interval_of_its_cases() -> None:
    table = np.random.default_rng(1).normal(0.05, 0.1, (1, 12))
    found = paired_interval(table)
    expected = scipy.stats.ttest_1samp(table[0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_where_draws_alone_differ_their_means_have_the_t_interval() -> None:
    table = np.repeat(np.random.default_rng(1).normal(size=(4, 1)), 9, axis=1)
    found = paired_interval(table)
    expected = scipy.stats.ttest_1samp(table[:, 0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("draw", "case", "rest"), [(1, 0.5, 0.5), (0.3, 0.3, 0.5), (0.1, 1, 1)])
@pytest.mark.parametrize("draws", [3, 5])
def test_interval_covers_what_it_says(draws: int, draw: float, case: float, rest: float) -> None:
    rng = np.random.default_rng(5)
    tables = (
        draw * rng.standard_normal((draws, 1))
        + case * rng.standard_normal((1, 24))
        + rest * rng.standard_normal((draws, 24))
        for _ in range(1500)
    )
    found = [paired_interval(table) for table in tables]
    assert 0.92 < np.mean([interval.low <= 0 <= interval.high for interval in found]) < 0.985


def test_interval_is_wider_than_pooling_when_draws_differ() -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(0, 0.05, (5, 20)) + rng.normal(0, 0.1, (5, 1))
    crossed = paired_interval(table)
    pooled = paired_interval(table.reshape(1, -1))
    assert crossed.high - crossed.low > 1.5 * (pooled.high - pooled.low)


def test_interval_is_reproducible_and_shifts_with_the_data() -> None:
    table = np.random.default_rng(3).normal(size=(3, 8))
    one, two = paired_interval(table), paired_interval(table + 1)
    assert paired_interval(table) == one
    assert (two.low - 1, two.high - 1) == pytest.approx((one.low, one.high))


def test_one_case_has_no_interval() -> None:
    found = paired_interval(np.array([[0.1], [0.2]]))
    assert found.mean == pytest.approx(0.15) and math.isnan(found.low)


@pytest.mark.parametrize("table", [np.ones(3), np.ones((0, 3)), np.array([[1.0, np.nan]])])
def test_interval_refuses_incomplete_tables(table: np.ndarray) -> None:
    with pytest.raises(ValueError, match="complete"):
        paired_interval(table)
