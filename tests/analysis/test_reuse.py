"""Analyses of feature reuse, attention, corpus size, capacity, the organ table and panels."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medssl_bench import registry
from medssl_bench.analysis.leaderboard.examples import example_rows
from medssl_bench.analysis.leaderboard.marks import Mark
from medssl_bench.analysis.leaderboard.results import Results, read_results
from medssl_bench.analysis.statistics.crossed import paired_interval
from medssl_bench.analysis.studies.capacity import parameters
from medssl_bench.analysis.studies.outcome import NOT_COMPUTABLE, Evidence, Options, Outcome
from medssl_bench.errors import BenchError


@pytest.fixture(scope="module")
def results(results_folder: Path) -> Results:
    return read_results(results_folder)[0]


@pytest.fixture(scope="module")
def grown(grown_folder: Path) -> Results:
    return read_results(grown_folder)[0]


def ask(results: Results, name: str, **options) -> Outcome:
    outcome: Outcome = registry.analyses.load(name)(Evidence(results, Options(**options)))
    return outcome


def test_cka_profiles_are_means_over_runs_of_the_diagonal(results: Results) -> None:
    section = ask(results, "cka", task="phantom_ct").sections[0]
    row = section.table.set_index(["method", "shots"]).loc[("smit", "5")]
    # conftest: the last layer keeps 0.74 in draw 0 and 0.72 in draw 1, the first everything.
    assert row["runs"] == 2
    assert row["layer_1"] == pytest.approx(1)
    assert row["layer_4"] == pytest.approx(0.73)
    assert row["mean"] == pytest.approx((1 + 0.73) / 2)
    assert "64 crops in groups of 16" in section.notes
    assert "layers: 1 stage1.block1" in section.notes[-1]


def test_consistency_between_shots_beside_that_between_draws(results: Results) -> None:
    table = ask(results, "cka", task="phantom_ct").sections[1].table.set_index("method")
    # full keeps 0.64 where 5 shots keep 0.73 on average, falling evenly from 1 over four layers.
    assert table.loc["smit", "consistency"] == pytest.approx(1 - 0.09 / 2)
    assert table.loc["smit", "between_runs"] == pytest.approx(1 - 0.02 / 2)
    assert table.loc["smit", "correlation"] == pytest.approx(1)
    alone = ask(results, "cka", task="phantom_ct", shots="5").sections[1]
    assert "two numbers of shots" in alone.reason


def test_cka_is_drawn_by_task_and_as_matrices(results: Results) -> None:
    outcome = ask(results, "cka")
    assert set(outcome.figures) == {"cka", "cka-matrices-1", "cka-matrices-2"}
    axes = outcome.figures["cka"].axes
    assert [one.get_title("left") for one in axes][:2] == [
        "phantom_ct, shots 5", "phantom_ct, shots full",
    ]  # fmt: skip
    assert len(axes[0].lines) == 3


def test_a_layer_without_cka_is_named(results: Results) -> None:
    broken = results.similarity.copy()
    dead = (broken["method"] == "smit") & (broken["layer_a"] == "stage1.block1")
    broken.loc[dead, "cka"] = np.nan
    changed = Results(results.cases, results.records, similarity=broken)
    outcome = ask(changed, "cka", task="phantom_ct")
    assert any("smit, shots 5: stage1.block1 puts out the same" in one
               for one in outcome.sections[0].notes)  # fmt: skip


def test_attention_by_layer_with_the_range_of_its_heads(results: Results) -> None:
    table = ask(results, "attention", task="phantom_ct").sections[0].table
    row = table.set_index(["method", "shots", "encoder", "layer"]).loc[
        ("smit", "full", "after", "stage3.block1")
    ]
    # conftest: heads look 10 and 15 mm far in the first layer, of 20 mm, times what is kept.
    kept = 0.74 - 0.1
    assert row["heads"] == 2
    assert row["distance_mm"] == pytest.approx(12.5 * 8 * kept)
    assert row["distance_least"] == pytest.approx(0.5 * kept)
    assert row["distance_greatest"] == pytest.approx(0.75 * kept)
    assert row["entropy_share"] == pytest.approx(3.25 / math.log(64))


@pytest.mark.parametrize("name", ["cka", "attention"])
def test_records_without_it_say_so(grown: Results, name: str) -> None:
    outcome = ask(grown, name)
    assert NOT_COMPUTABLE in outcome.text and "similarity: true" in outcome.text
    assert not outcome.figures


@pytest.mark.parametrize("name", ["cka", "attention", "table2"])
def test_an_unknown_task_is_refused(results: Results, name: str) -> None:
    with pytest.raises(BenchError, match="no task 'phantom_cd'.*phantom_ct"):
        ask(results, name, task="phantom_cd")


def test_corpus_size_runs_from_scratch_to_all_scans(grown: Results) -> None:
    sections = ask(grown, "corpus-size").sections
    assert len(sections) == 2  # one for each backbone
    table = sections[0].table.set_index(["method", "scans"])
    assert list(table.index) == [("scratch", 0), ("smit", 10), ("smit", 100)]
    assert table.loc[("smit", 100), "mean"] - table.loc[("smit", 10), "mean"] > 0.08
    panel = Evidence(grown, Options()).panels()[0]
    for label, crossed in zip(panel.methods, panel.crossed, strict=True):
        interval = paired_interval(crossed)
        row = table[table["label"] == label].iloc[0]
        assert (row["mean"], row["low"], row["high"]) == pytest.approx(
            (interval.mean, interval.low, interval.high)
        )
        assert row["width"] == pytest.approx(interval.high - interval.low)


def test_capacity_orders_backbones_by_parameters(grown: Results) -> None:
    (section,) = ask(grown, "capacity").sections
    table = section.table
    assert set(table["method"]) == {"scratch", "smit"}
    scratch = table[table["method"] == "scratch"]
    assert list(scratch["backbone"]) == ["swin_tiny", "swin_65m"]
    assert list(scratch["params_m"]) == [1.70, 64.70]
    assert scratch["mean"].iloc[1] > scratch["mean"].iloc[0]
    assert math.isnan(parameters("of_a_plugin_that_is_gone"))


@pytest.mark.parametrize(
    "name, reason", [("corpus-size", "two sizes"), ("capacity", "two backbones or two crops")]
)
def test_one_size_makes_no_curve(results: Results, name: str, reason: str) -> None:
    outcome = ask(results, name)
    assert NOT_COMPUTABLE in outcome.text and reason in outcome.text and not outcome.figures


def test_the_organ_table_is_that_of_plain_loops(results: Results) -> None:
    outcome = ask(results, "table2", task="phantom_ct", shots="5")
    row = outcome.sections[0].table.set_index("method").loc["scratch"]
    cases = results.cases
    mine = cases[
        (cases["method"] == "scratch") & (cases["task"] == "phantom_ct") & (cases["shots"] == "5")
    ]
    present = mine[mine["status"].isin(["ok", "pred_empty"])]
    for place, target in enumerate(("liver", "spleen", "lesion"), 1):
        values = [
            np.mean([row["dice"] for _, row in of_case.iterrows()])
            for _, of_case in present[present["target"] == target].groupby("case")
        ]
        assert row[f"mean_{place}"] == pytest.approx(np.mean(values))
        assert row[f"sd_{place}"] == pytest.approx(np.std(values, ddof=1))
        assert row[f"cases_{place}"] == len(values) == (3 if target == "lesion" else 4)
    means = [
        np.mean([run["dice"].mean() for _, run in of_case.groupby("draw")])
        for _, of_case in present.groupby("case")
    ]
    assert row["mean_4"] == pytest.approx(np.mean(means))
    assert "2 targets missed" in outcome.text


def test_printed_tables_stand_beside_the_measured_one(results: Results) -> None:
    """Paper 004's Table 2 is of AMOS; its cells appear for that task alone."""
    renamed = results.cases.assign(task=results.cases["task"].replace("phantom_ct", "amos_ct"))
    outcome = ask(Results(renamed, results.records), "table2", task="amos_ct")
    printed = outcome.sections[-1]
    assert "as printed in paper 004" in printed.title and len(printed.table) == 11
    assert printed.table.set_index("method").loc["scratch", "value_1"] == "0.95 (0.03)"
    measured = outcome.sections[0].table
    assert list(measured["method"]) == ["smit", "simmim", "scratch"]
    assert "value_1" not in measured
    assert "as printed" not in ask(results, "table2", task="phantom_mri").text


def test_panels_show_one_case_of_every_method(results: Results) -> None:
    outcome = ask(results, "panels", task="phantom_mri", shots="5")
    (section,) = outcome.sections
    assert list(section.table["method"]) == ["scratch", "simmim", "smit"]
    assert section.table["case"].nunique() == 1
    pictures = [axes for axes in outcome.figures["panels"].axes if axes.images]
    assert len(pictures) == 5  # image, reference and three predictions
    reference, smit = (pictures[place].images[0].get_array() for place in (1, 4))
    scratch = pictures[2].images[0].get_array()
    assert pd.Series(
        [abs(np.float32(one) - reference).mean() for one in (smit, scratch)]
    ).is_monotonic_increasing


def test_colours_are_those_of_the_classes_that_pictures_show(results: Results) -> None:
    """Not of the regions that are measured: WT would have the colour of the core in it."""
    classes = {"1": "core", "2": "oedema", "3": "enhancing"}
    records = [{**record, "settings": {"task": {"classes": classes}}} for record in results.records]
    marks = {record["cell"]["method"]: Mark("#000000", "o") for record in records}
    told = {row.task: row.colours for row in example_rows(replace(results, records=records), marks)}
    colours = {"core": "#e69f00", "oedema": "#56b4e9", "enhancing": "#009e73"}
    assert told and all(one == colours for one in told.values())
    before = example_rows(results, marks)[0].colours
    assert [*before] == ["liver", "spleen", "lesion"] and before["liver"] == "#e69f00"


def test_panels_without_pictures_say_so(grown: Results) -> None:
    assert "example_slices" in ask(grown, "panels").text
