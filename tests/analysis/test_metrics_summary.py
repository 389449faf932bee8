"""The summary of a case table: what is averaged in which order, and what is counted apart."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics import compute_dice

from medssl_bench.analysis.metrics import case_metrics, summarise


def table(*rows):
    columns = ["case", "target", "dice", "hd95", "status", "diagonal_mm"]
    return pd.DataFrame(rows, columns=columns)


EXAMPLE = table(
    ("c1", "liver", 0.9, 4.0, "ok", 100.0),
    ("c1", "spleen", 0.0, math.inf, "pred_empty", 100.0),
    ("c2", "liver", 0.5, 10.0, "ok", 300.0),
    ("c2", "spleen", 0.0, math.inf, "ref_empty", 300.0),
    ("c2", "lesion", math.nan, math.nan, "both_empty", 300.0),
    ("c1", "lesion", 0.0, math.inf, "ref_empty", 100.0),
)


def test_summary_per_target_by_hand():
    targets = summarise(EXAMPLE)["targets"]
    counts = {"misses": 0, "false_positives": 0, "both_empty": 0}
    assert targets["liver"] == {
        "dice_mean": pytest.approx(0.7),
        "dice_n": 2,
        "hd95_mean": pytest.approx(7.0),
        "hd95_n": 2,
        **counts,
    }
    assert targets["spleen"] == {
        "dice_mean": 0.0,
        "dice_n": 1,
        "hd95_mean": 100.0,
        "hd95_n": 1,
        **counts,
        "misses": 1,
        "false_positives": 1,
    }
    assert targets["lesion"] == {
        "dice_mean": None,
        "dice_n": 0,
        "hd95_mean": None,
        "hd95_n": 0,
        **counts,
        "false_positives": 1,
        "both_empty": 1,
    }


def test_the_mean_is_over_targets_within_a_case_then_over_cases():
    # c1: (0.9 + 0) / 2, (4 + 100) / 2; c2: 0.5, 10. Averaging organs first would give 0.35.
    assert summarise(EXAMPLE)["mean"] == {
        "dice_mean": pytest.approx((0.45 + 0.5) / 2),
        "dice_n": 2,
        "hd95_mean": pytest.approx((52 + 10) / 2),
        "hd95_n": 2,
        "misses": 1,
        "false_positives": 2,
        "both_empty": 1,
    }


def test_summary_does_not_depend_on_row_order_and_is_json():
    summary = summarise(EXAMPLE)
    assert summarise(EXAMPLE.iloc[::-1]) == summary
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_when_all_is_missed_the_distance_is_the_diagonal_not_zero():
    reference, nothing = np.zeros((2, 10, 10, 10), np.uint8)
    reference[4:6, 4:6, 4:6] = 1
    row = case_metrics(reference, nothing, (1, 1, 1), {1: "organ"})[0]
    mean = summarise(pd.DataFrame([{"case": f"c{n}", **row} for n in range(3)]))["mean"]
    assert mean["hd95_mean"] == pytest.approx(math.sqrt(300))
    assert (mean["dice_mean"], mean["misses"], mean["dice_n"]) == (0, 3, 3)


def test_nothing_to_average_is_none():
    both = table(("c1", "liver", math.nan, math.nan, "both_empty", 9.0))
    for rows in (both, both.iloc[:0]):
        mean = summarise(rows)["mean"]
        assert (mean["dice_mean"], mean["hd95_mean"], mean["dice_n"]) == (None, None, 0)


def test_summary_of_measured_cases_equals_monai():
    random = np.random.default_rng(0)
    classes = {1: "a", 2: "b", 3: "c"}
    rows, dice = [], []
    for case in range(3):
        pair = [random.integers(0, 4, (8, 9, 10)) for _ in range(2)]
        rows += [{"case": case, **row} for row in case_metrics(*pair, (1, 1, 2), classes)]
        first, second = (
            torch.stack([torch.from_numpy(labels == n) for n in range(4)])[None] for labels in pair
        )
        dice.append(compute_dice(second, first, include_background=False)[0])
    expected = torch.stack(dice)
    summary = summarise(pd.DataFrame(rows))
    assert summary["mean"]["dice_mean"] == pytest.approx(float(expected.mean()), abs=1e-6)
    for number, name in enumerate(classes.values()):
        assert summary["targets"][name]["dice_mean"] == pytest.approx(
            float(expected[:, number].mean()), abs=1e-6
        )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (EXAMPLE.drop(columns="diagonal_mm"), "no column diagonal_mm"),
        (pd.concat([EXAMPLE, EXAMPLE.iloc[:1]]), "stands twice"),
        (table(("c1", "liver", 0.5, 3.0, "fine", 9.0)), "unknown status 'fine'"),
        (table(("c1", "liver", math.nan, 3.0, "ok", 9.0)), "is ok but has no dice"),
        (table(("c1", "liver", 0.5, math.inf, "ok", 9.0)), "is ok but has no hd95"),
        (table(("c1", "liver", 0.0, math.inf, "pred_empty", None)), "has no diagonal_mm"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(rows, says):
    with pytest.raises(ValueError, match=says):
        summarise(rows)
