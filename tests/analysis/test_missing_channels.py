"""What a missing channel costs, against sums by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl_bench.analysis.leaderboard.results import Results, read_results
from medssl_bench.analysis.statistics.crossed import paired_interval
from medssl_bench.analysis.studies.missing_channels import analyse
from medssl_bench.analysis.studies.outcome import Evidence, Options


@pytest.fixture(scope="module")
def results(results_folder: Path) -> Results:
    """Dice falls by 0.1 without T1 and by 0.02 for each draw more without T1 and T2."""
    found, _ = read_results(results_folder)
    rows = found.cases[found.cases["shots"] == "5"]
    draw = rows["draw"].astype(int)
    filled = np.where(rows["method"] == "smit", "template", "zero")
    first = rows.assign(without="T1", filled=filled, dice=rows["dice"] - 0.1)
    both = rows.assign(without="T1+T2", filled="zero", dice=rows["dice"] - 0.02 * (1 + draw))
    return dataclasses.replace(found, missing=pd.concat([first, both], ignore_index=True))


def test_the_change_is_paired_by_draw_and_case(results: Results) -> None:
    outcome = analyse(Evidence(results, Options(task="phantom_ct", shots="5")))
    (section,) = outcome.sections
    table = section.table.set_index(["method", "without"])
    draws = results.cases["draw"].nunique()
    for method in ("scratch", "simmim", "smit"):
        assert table.loc[(method, "T1"), "change"] == pytest.approx(-0.1)
        assert table.loc[(method, "T1"), "low"] == pytest.approx(-0.1, abs=1e-9)
        both = table.loc[(method, "T1+T2")]
        by_draw = [-0.02 * (1 + draw) for draw in range(draws)]
        cases = results.segmented.query("task == 'phantom_ct'")["case"].nunique()
        wanted = paired_interval(np.tile(np.array(by_draw)[:, None], cases))
        assert both["change"] == pytest.approx(np.mean(by_draw))
        assert both["low"] == pytest.approx(wanted.low, rel=1e-6)
        assert both["value"] == pytest.approx(both["whole"] + both["change"])
    assert table.loc[("smit", "T1"), "filled"] == "template"
    assert table.loc[("scratch", "T1"), "filled"] == "zero"
    assert "missing-channels" in outcome.figures
    assert "T1+T2" in outcome.text and "template" in outcome.text


def test_a_method_without_such_rows_is_left_out_of_that_set_alone(results: Results) -> None:
    rows = results.missing
    part = rows[(rows["method"] != "smit") | (rows["without"] == "T1")]
    fewer = dataclasses.replace(results, missing=part)
    table = analyse(Evidence(fewer, Options(task="phantom_ct"))).sections[0].table
    found = table.groupby("without")["method"].agg(set)
    assert found["T1"] == {"scratch", "simmim", "smit"}
    assert found["T1+T2"] == {"scratch", "simmim"}


def test_the_whole_is_of_the_runs_that_were_tested_without_those_channels(
    results: Results,
) -> None:
    rows = results.missing
    part = rows[(rows["draw"].astype(int) == 0) | (rows["without"] == "T1")]
    fewer = dataclasses.replace(results, missing=part)
    table = analyse(Evidence(fewer, Options(task="phantom_ct"))).sections[0].table
    found = table.set_index(["method", "without"])
    everything = analyse(Evidence(results, Options(task="phantom_ct"))).sections[0].table
    both = everything.set_index(["method", "without"])
    for method in ("scratch", "simmim", "smit"):
        assert found.loc[(method, "T1"), "whole"] == both.loc[(method, "T1"), "whole"]
        one = found.loc[(method, "T1+T2")]
        assert one["change"] == pytest.approx(-0.02)
        assert one["whole"] != pytest.approx(both.loc[(method, "T1+T2"), "whole"], abs=1e-6)
        assert one["value"] == pytest.approx(one["whole"] - 0.02)


def test_tasks_may_have_channels_of_other_names(results: Results) -> None:
    rows = results.missing
    other = rows["task"] == "phantom_ct"
    named = rows.assign(without=rows["without"].mask(other, "t1n"))
    named = named.drop_duplicates(["key", "case", "target", "without"])
    several = dataclasses.replace(results, missing=named)
    (section,) = analyse(Evidence(several, Options(task="phantom_ct"))).sections
    assert set(section.table["without"]) == {"t1n"}


def test_a_network_that_finds_nothing_without_a_channel_is_as_far_as_can_be(
    results: Results,
) -> None:
    rows = results.missing[results.missing["without"] == "T1"]
    there = rows["status"].isin(["ok", "pred_empty"])
    status = rows["status"].mask(there, "pred_empty").mask(~there, "both_empty")
    none = rows.assign(status=status, dice=rows["dice"].where(~there, 0.0), hd95=np.nan)
    blind = dataclasses.replace(results, missing=none)
    table = analyse(Evidence(blind, Options("hd95", task="phantom_ct"))).sections[0].table
    assert len(table) == 3
    mine = rows[there & (rows["task"] == "phantom_ct")]
    assert mine["diagonal_mm"].nunique() == 1
    assert table["value"].to_numpy() == pytest.approx(mine["diagonal_mm"].iloc[0])


def test_classification_has_the_change_of_auc(results: Results) -> None:
    rng = np.random.default_rng(0)
    base = results.cases[results.cases["shots"] == "5"].iloc[:1]
    rows = []
    for number in range(12):
        true = number % 2
        share = 0.5 + (0.3 if true else -0.3) + 0.2 * float(rng.standard_normal())
        for place, name in enumerate(("low", "high")):
            p = min(max(share if place else 1 - share, 0.01), 0.99)
            rows.append(
                base.iloc[0].to_dict()
                | {
                    "task": "grade", "case": f"c{number}", "target": name, "status": "classified",
                    "probability": p, "true": ("low", "high")[true], "predicted": "high",
                }
            )  # fmt: skip
    whole = pd.DataFrame(rows)
    for _, one in whole.groupby("case"):
        whole.loc[one.index, "predicted"] = one.loc[one["probability"].idxmax(), "target"]
    turned = whole.assign(probability=1 - whole["probability"], without="T1", filled="zero")
    for _, one in turned.groupby("case"):
        turned.loc[one.index, "predicted"] = one.loc[one["probability"].idxmax(), "target"]
    asked = dataclasses.replace(results, cases=whole, missing=turned)
    (section,) = analyse(Evidence(asked, Options())).sections
    (row,) = section.table.to_dict("records")
    from sklearn.metrics import roc_auc_score

    high = whole[whole["target"] == "high"]
    auc = roc_auc_score(high["true"] == "high", high["probability"])
    assert row["whole"] == pytest.approx(auc)
    assert row["value"] == pytest.approx(1 - auc)
    assert row["change"] == pytest.approx(1 - 2 * auc)
    tuned = {"tuning": "templates", "key": "another"}
    both = dataclasses.replace(
        results,
        cases=pd.concat([whole, whole.assign(**tuned)]),
        missing=pd.concat([turned, turned.assign(**tuned, filled="template")]),
    )
    (section,) = analyse(Evidence(both, Options())).sections
    name = whole["method"].iloc[0]
    labels = {f"{name} (tuning none)": "zero", f"{name} (tuning templates)": "template"}
    assert dict(zip(section.table["method"], section.table["filled"], strict=True)) == labels


def test_without_any_the_setting_is_named(results: Results) -> None:
    none = dataclasses.replace(results, missing=pd.DataFrame())
    assert "--set missing_channels=each" in analyse(Evidence(none, Options())).text
