"""Which ranks flip with the definition: a table worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from medssl_bench.analysis.statistics.panel import panels
from medssl_bench.analysis.studies.definitions import Rule, flipped, rank_under, said

DIAGONAL = 100.0


def row(method, case, target, status, dice, hd95, pooled):
    return {
        "method": method, "pretraining": "none", "corpus": None, "corpus_size": None,
        "pretrain_crop": None, "pretrain_seed": None, "backbone": "swin_tiny", "task": "organs",
        "shots": "5", "draw": 0, "seed": 0, "protocol": "abcdef", "profile": "demo",
        "tuning": "",
        "case": case, "target": target, "status": status, "dice": dice, "hd95": hd95,
        "hd95_pooled": pooled, "diagonal_mm": DIAGONAL,
    }  # fmt: skip


@pytest.fixture
def cases():
    """Of a: liver 0.8 and 0.8, a spleen invented. Of b: liver 0.7 and 0.7, none invented."""
    nan, inf = math.nan, math.inf
    return pd.DataFrame(
        [
            row("a", "1", "liver", "ok", 0.8, 4.0, 3.0),
            row("a", "2", "liver", "ok", 0.8, 6.0, 3.0),
            row("a", "1", "spleen", "ok", 0.6, 5.0, 5.0),
            row("a", "2", "spleen", "ref_empty", 0.0, inf, inf),
            row("b", "1", "liver", "ok", 0.7, 3.0, 2.8),
            row("b", "2", "liver", "ok", 0.7, 5.0, 4.8),
            row("b", "1", "spleen", "pred_empty", 0.0, inf, inf),
            row("b", "2", "spleen", "both_empty", nan, nan, nan),
            row("c", "1", "liver", "ok", 0.7, 3.0, 2.9),
            row("c", "2", "liver", "ok", 0.7, 7.0, 2.9),
            row("c", "1", "spleen", "ok", 0.6, 5.0, 4.9),
            row("c", "2", "spleen", "both_empty", nan, nan, nan),
        ]
    )


def under(cases, *rules):
    made = {rule: panels(cases, rule.metric, absent=rule.absent)[0] for rule in rules}
    table = rank_under(made)
    return table, table.set_index("method")


def test_counting_absent_targets_flips_dice(cases):
    """Case 1, case 2: a 0.7, 0.8; b 0.35, 0.7; c 0.65, 0.7. Counted: a 0.4, b and c 0.85."""
    rules = Rule("dice"), Rule("dice", absent=True)
    table, by = under(cases, *rules)
    assert by["dice"].to_dict() == pytest.approx({"a": 0.75, "c": 0.675, "b": 0.525})
    assert by["dice_absent"].to_dict() == pytest.approx({"a": 0.55, "c": 0.75, "b": 0.6})
    assert by["dice_rank"].to_dict() == {"a": "1", "c": "2", "b": "3"}
    assert by["dice_absent_rank"].to_dict() == {"a": "3", "c": "1", "b": "2"}
    assert said(table, rules) == ["dice against dice, absent: a / c, a / b"]


def test_pooling_flips_distances_and_a_miss_is_the_diagonal(cases):
    """HD95: a 4.5, 6; c 4, 7; b (3 + 100) / 2, 5. Pooled: a 4, 3; c 3.9, 2.9."""
    rules = Rule("hd95"), Rule("hd95_pooled"), Rule("hd95", absent=True)
    table, by = under(cases, *rules)
    assert by["hd95"].to_dict() == pytest.approx({"a": 5.25, "c": 5.5, "b": 28.25})
    assert by["hd95_pooled"].to_dict() == pytest.approx({"a": 3.5, "c": 3.4, "b": 28.1})
    # Absent: a's second case (6 + 100) / 2, c's (7 + 0) / 2, b's (5 + 0) / 2.
    assert by["hd95_absent"].to_dict() == pytest.approx({"a": 28.75, "c": 3.75, "b": 27.0})
    assert said(table, rules) == [
        "hd95 against hd95_pooled: a / c",
        "hd95 against hd95, absent: a / c, a / b",
    ]


def test_a_tie_is_no_flip():
    assert flipped(np.array([1, 2, 3]), np.array([3, 1, 2])) == [(0, 1), (0, 2)]
    assert flipped(np.array([1.5, 1.5, 3]), np.array([2, 1, 3])) == []
    assert flipped(np.array([1, 2, 3]), np.array([1, 2.5, 2.5])) == []
