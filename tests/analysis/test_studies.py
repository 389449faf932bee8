"""Every analysis answers from records alone, writes what it shows, and says what it cannot know."""

import copy
import csv
import json
import math
from dataclasses import astuple, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy import stats

from medssl_bench import registry
from medssl_bench.analysis.leaderboard.results import read_results
from medssl_bench.analysis.simulation import simulate
from medssl_bench.analysis.statistics.crossed import retraining_test
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies import ranking, significance
from medssl_bench.analysis.studies.convergence import describe, steps_to
from medssl_bench.analysis.studies.modality_gap import compare_modalities
from medssl_bench.analysis.studies.organ_groups import groups_of
from medssl_bench.analysis.studies.outcome import NOT_COMPUTABLE, Evidence, Options
from medssl_bench.analysis.studies.reported import (
    performance_gaps,
    read_facts,
    read_reported,
)
from medssl_bench.analysis.studies.statements import check_statements
from medssl_bench.cli.analyze_command import command
from medssl_bench.errors import BenchError

NAMES = list(registry.analyses.entries())
SEVERAL = {
    "corpus-size": "two sizes of a corpus",
    "capacity": "two backbones or two crops",
    "missing-channels": "missing_channels=each",
}
"""What these compare, and the results here lack; see ``test_reuse.py`` and
``test_missing_channels.py``."""


@pytest.fixture(scope="module")
def results(results_folder):
    """Results whose records name the modality of their task, as runs write them."""
    found, _ = read_results(results_folder)
    for record in found.records:
        modality = "CT" if record["cell"]["task"].endswith("ct") else "MRI"
        record["settings"]["task"] = {"modality": modality, "groups": {}}
    return found


def ask(results, name, **options):
    evidence = Evidence(results, Options(resamples=100, **options))
    return registry.analyses.load(name)(evidence)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SEVERAL])
def test_every_analysis_writes_what_it_shows(results, name, tmp_path):
    options = {} if name in ("gaps", "modality-gap") else {"task": "phantom_ct"}
    outcome = ask(results, name, **options)
    assert outcome.name == name and outcome.claim in outcome.text
    files = {path.name: path for path in outcome.write(tmp_path)}
    rows = list(csv.DictReader(files[f"{name}.csv"].open()))
    document = json.loads(files[f"{name}.json"].read_text())
    assert len(rows) == sum(len(section["rows"]) for section in document["sections"]) > 0
    assert {row["section"] for row in rows} <= {one["title"] for one in document["sections"]}
    assert f"{name}.svg" in files and Image.open(files[f"{name}.png"]).size[0] > 200
    assert all(section["title"] in outcome.text for section in document["sections"])


@pytest.mark.parametrize("name", ["significance", "retraining", "ranks", "critical-difference"])
def test_one_method_cannot_be_compared(results, name):
    alone = type(results)(
        results.cases[results.cases["method"] == "smit"], results.records, results.histories
    )
    outcome = ask(alone, name)
    assert NOT_COMPUTABLE in outcome.text and "fewer than" in outcome.text
    assert not outcome.figures and outcome.table.empty


def test_significance_is_wilcoxon_of_case_means(results, case_table):
    table = ask(results, "significance", task="phantom_ct", shots="5").table
    row = table[(table["first"] == "smit") & (table["second"] == "scratch")].iloc[0]
    rows = case_table.query("task == 'phantom_ct' and shots == '5' and status != 'both_empty'")
    rows = rows[rows["status"] != "ref_empty"]
    means = rows.groupby(["method", "draw", "case"])["dice"].mean()
    means = means.groupby(["method", "case"]).mean().unstack("case")
    difference = means.loc["smit"] - means.loc["scratch"]
    assert row["p"] == stats.wilcoxon(difference).pvalue
    assert row["mean"] == pytest.approx(difference.mean())


def test_one_draw_makes_no_statement_on_retraining(results):
    outcome = ask(results, "retraining", task="phantom_ct", shots="full")
    assert "not computable: one draw says nothing about retraining" in outcome.text
    assert outcome.table["p"].isna().all()


def test_lower_distances_rank_first(results):
    table = ask(results, "ranks", metric="hd95", task="phantom_ct", shots="5").table
    assert table["mean"].is_monotonic_increasing and table["rank_value"].iloc[0] == 1


def test_gaps_are_relative_to_the_best_at_full_shots(results, case_table):
    table = ask(results, "gaps", task="phantom_mri").table
    best = table.loc[table[table["shots"] == "full"]["mean"].idxmax()]
    assert best["gap"] == 0
    for row in table.to_dict("records"):
        assert row["gap"] == pytest.approx(100 * (row["mean"] / best["mean"] - 1))
        assert row["low"] <= row["gap"] <= row["high"]


def test_groups_follow_amos_and_gall_bladder_is_a_setting(results):
    found = groups_of(results, "phantom_ct")
    assert found == {"large": ("liver", "spleen"), "lesion": ("lesion",)}
    cases = results.cases.assign(target=results.cases["target"].replace("lesion", "gall_bladder"))
    with_gall = type(results)(cases, results.records)
    assert groups_of(with_gall, "phantom_ct")["small"] == ("gall_bladder",)
    assert groups_of(with_gall, "phantom_ct", "gi")["gi"] == ("gall_bladder",)
    own = [{**record, "settings": {"task": {"groups": {"all": ["spleen", "liver"]}}}}
           for record in results.records]  # fmt: skip
    assert groups_of(type(results)(cases, own), "phantom_ct") == {
        "all": ("liver", "spleen"), "gall_bladder": ("gall_bladder",),
    }  # fmt: skip


def test_a_groups_mean_is_over_its_targets(results, case_table):
    table = ask(results, "groups", task="phantom_ct", shots="full").table
    row = table[(table["method"] == "smit") & (table["group"] == "large")].iloc[0]
    mine = case_table.query("task == 'phantom_ct' and shots == 'full' and method == 'smit'")
    mine = mine[mine["target"].isin(["liver", "spleen"])]
    assert row["mean"] == pytest.approx(mine["dice"].mean())


def test_the_modality_gap_pairs_the_same_patients_only():
    random = np.random.default_rng(0)
    ct, mri = random.normal(0.8, 0.05, (2, 3, 12)), random.normal(0.78, 0.05, (2, 3, 12))
    paired = compare_modalities(ct, mri, paired=True, alpha=0.1)
    for one, first, second in zip(paired, ct, mri, strict=True):
        alone = retraining_test(first - second, alpha=0.1)
        assert one.test == "paired, draws x cases"
        assert astuple(one)[:4] == pytest.approx((alone.mean, alone.low, alone.high, alone.p))
    apart = compare_modalities(ct, mri[:, :, :9], paired=False, alpha=0.05)
    assert {one.test for one in apart} == {"unpaired, Welch"}
    single = compare_modalities(ct[:, :1], mri[:, :1], paired=True, alpha=0.05)
    for one, gap in zip(single, (ct - mri)[:, 0], strict=True):
        assert one.mean == pytest.approx(gap.mean())
        assert one.p == pytest.approx(stats.wilcoxon(gap).pvalue)
    unequal = compare_modalities(ct, mri[:, :2], paired=True, alpha=0.05)
    for one, first, second in zip(unequal, ct, mri, strict=True):
        gap = first.mean(axis=0) - second[:2].mean(axis=0)
        assert one.test == "paired, Wilcoxon by case"
        assert one.p == pytest.approx(stats.wilcoxon(gap).pvalue)


def test_the_modality_gap_and_its_interaction(results):
    table = ask(results, "modality-gap", shots="5").table
    row = table[(table["method"] == "smit") & (table["group"] == "large")].iloc[0]
    base = table[(table["method"] == "scratch") & (table["group"] == "large")].iloc[0]
    assert row["mean"] == pytest.approx(row["ct"] - row["mri"])
    assert row["interaction"] == pytest.approx(row["mean"] - base["mean"])
    assert math.isnan(base["p_interaction"])


def test_a_task_run_in_two_ways_is_in_the_modality_gap_twice(results):
    """Its protocols differ in what is the task's own, so both compare with the other task."""
    second = results.cases.query("task == 'phantom_ct'").copy()
    again = {key: f"again {key}" for key in second["key"].unique()}
    second["key"] = second["key"].map(again)
    second["protocol"] = "another"
    second["dice"] = second["dice"] - 0.01
    records = [copy.deepcopy(one) for one in results.records if one["key"] in again]
    for record in records:
        record["key"] = again[record["key"]]
        record["cell"]["protocol"] = "another"
    both = replace(
        results,
        cases=pd.concat([results.cases, second], ignore_index=True),
        records=[*results.records, *records],
    )
    one, two = (ask(found, "modality-gap", shots="5") for found in (results, both))
    assert len(two.sections) == 2 * len(one.sections) and len(two.table) == 2 * len(one.table)
    assert all("protocols" in section.title for section in two.sections)
    first, other = (two.table[two.table["section"] == x.title] for x in two.sections[:2])
    gaps = sorted([first["mean"].to_numpy()[0], other["mean"].to_numpy()[0]])
    assert gaps[1] - gaps[0] == pytest.approx(0.01)


def test_the_modality_gap_says_what_it_leaves_out_and_why(results):
    without = [
        one
        for one in results.records
        if (one["cell"]["task"], one["cell"]["method"]) != ("phantom_mri", "scratch")
    ]
    keys = {one["key"] for one in without}
    kept = results.cases[results.cases["key"].isin(keys)].reset_index(drop=True)
    outcome = ask(replace(results, records=without, cases=kept), "modality-gap", shots="5")
    assert "no interaction in some rows: scratch was not run on both" in outcome.text
    assert "not in both tasks in the same way: scratch" in outcome.text


@pytest.mark.parametrize(
    ("settings", "paired"),
    [
        ({"finetune": {"steps": 100, "validation_every": 50}, "select": "last"}, True),
        ({"evaluate": {"overlap": 0.5, "batch": 2}, "select": "last"}, True),
        ({"task": {"preprocessing": {"spacing": [2.0, 2.0, 2.0]}, "crop": [64, 64, 64]}}, True),
        ({"finetune": {"steps": 200}, "select": "last"}, False),
        ({"finetune": {"steps": 100, "crop": [64, 64, 64]}, "select": "last"}, False),
        ({"evaluate": {"overlap": 0.25}, "select": "last"}, False),
        ({"select": "validation"}, False),
        ({"precision": "bf16-mixed"}, False),
        ({"own_training": {"epochs": 5, "planned": {"spacing": [1, 1, 1]}}}, False),
    ],
)
def test_the_modality_gap_is_between_runs_that_differ_in_the_task_alone(results, settings, paired):
    common = {
        "finetune": {"steps": 100, "validation_every": 100},
        "evaluate": {"overlap": 0.5, "batch": 4},
        "select": "last",
    }
    changed = [copy.deepcopy(record) for record in results.records]
    for record in changed:
        record["settings"] = {**common, **record["settings"]}
        if record["cell"]["task"] == "phantom_mri":
            task = {**record["settings"]["task"], **settings.get("task", {})}
            record["settings"] |= {**settings, "task": task}
    outcome = ask(replace(results, records=changed), "modality-gap", shots="5")
    assert outcome.table.empty != paired
    assert ("no CT task and MRI task" in outcome.text) != paired


def test_the_modality_gap_is_between_the_same_metrics_and_trainings_of_their_own(results):
    changed = [copy.deepcopy(record) for record in results.records]
    for record in changed:
        mri = record["cell"]["task"] == "phantom_mri"
        planned = {"spacing": [2.0, 2.0, 2.0] if mri else [1.0, 1.0, 1.0]}
        record["settings"]["own_training"] = {"epochs": 5, "planned": planned}
    own = replace(results, records=changed)
    assert not ask(own, "modality-gap", shots="5").table.empty
    for record in changed:
        if record["cell"]["task"] == "phantom_mri":
            record["definitions"] = {"dice": "dice/2: another"}
    assert ask(own, "modality-gap", shots="5").table.empty


def test_convergence_by_hand():
    """From 0 to a best end of 0.8: 90 % is 0.72, which the slow curve never keeps to."""
    steps = pd.Index([10, 20, 30], name="step")
    curves = {
        "fast": ("fast", pd.DataFrame({"0/0": [0.0, 0.8, 0.8]}, index=steps)),
        "slow": ("slow", pd.DataFrame({"0/0": [0.0, 0.75, 0.6]}, index=steps)),
    }
    table = describe(curves, rising=True).set_index("method")
    assert table.loc["fast", "area"] == pytest.approx((0.4 + 0.8) / 2)
    assert table.loc["fast", "steps_90%"] == "20"
    assert table.loc["slow", "steps_90%"] == "not reached"
    falling = pd.Series([3.0, 1.0, 2.0, 0.5], index=[1, 2, 3, 4])
    assert steps_to(falling, 1.5, rising=False) == 4


def test_the_papers_statements_are_recomputed():
    """Those of ``text_claims_check.csv``, all and no others, and with what it says of each."""
    checks = check_statements(read_reported(), read_facts())
    path = Path(__file__).parents[2] / "results" / "reported" / "text_claims_check.csv"
    known = pd.read_csv(path, dtype=str).rename(columns={"from_tables": "computed"})
    assert len(known) == 48 and known["statement"].is_unique
    for column in ("source", "section", "statement", "agrees"):
        assert list(checks[column]) == list(known[column])
    for column in ("stated", "computed"):
        assert list(map(as_number, checks[column])) == list(map(as_number, known[column]))


def as_number(printed):
    """0.6500 and 0.65 are the same; a name is itself."""
    try:
        return float(printed)
    except ValueError:
        return printed


@pytest.mark.parametrize(
    ("statement", "computed"),
    [
        (
            "ABIDE-I f1: better of the two BrainMVP rows (UNET3D) minus best SSL (mg)",
            100 * (0.6327 - 0.5892),
        ),
        (
            "smallest accuracy gain over any SSL method, four classification sets:"
            " BrainMVP (UniFormer)",
            100 * (0.6182 - 0.6424),  # TransVW on ABIDE-I
        ),
        (
            "total volumes: 10,412 + sums of the Table 1 rows",
            10412 + (100 + 40 + 377 + 64 + 101 + 400) + (100 + 20 + 196 + 17 + 30 + 91),
        ),
    ],
)
def test_statements_by_hand(statement, computed):
    checks = check_statements(read_reported(), read_facts()).set_index("statement")
    assert float(checks.loc[statement, "computed"]) == pytest.approx(computed)


def test_a_statement_fails_once_its_cells_say_otherwise():
    """UmiF leads 6 of 9 columns; without two of them it is not most."""
    results = read_reported()
    led = (results["table"] == "Table 2") & (results["method"] == "umif")
    low = led & (results["task"] == "rsna_cls") & results["shots"].isin(["1%", "10%"])
    changed = results.assign(value=results["value"].mask(low, 0.0))
    checks = check_statements(changed, read_facts()).set_index("statement")
    row = checks.loc['Table 2: "best performance in most settings"']
    assert (row["computed"], row["agrees"]) == ("4 of 9", "no")


def test_printed_gaps_are_the_formula():
    gaps = performance_gaps(read_reported())
    row = gaps[(gaps["task"] == "siim_seg") & (gaps["shots"] == "1%") & (gaps["method"] == "umif")]
    assert row["gap"].item() == pytest.approx(100 * (63.5 / 72.4 - 1))


def test_the_simulation_finds_pooling_wrong():
    found = list(simulate(60, seed=1))
    rates = {(one.question, one.test): one.rate for one in found if one.draws == 3}
    question = "false positives about these checkpoints"
    assert rates[question, "Wilcoxon, organs pooled"] > 0.3
    assert rates[question, "Wilcoxon on case means"] < 0.2
    about = "false positives about retraining"
    assert rates[about, "Wilcoxon, draws and seeds pooled"] > rates[about, "draws x cases"] + 0.2
    assert all(one.kept for one in found if not one.limit)


def run(*words):
    return CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)


def test_the_command_prints_writes_and_lists(results_folder, tmp_path):
    listed = run("--list")
    assert [line.split()[0] for line in listed.output.splitlines()] == NAMES
    done = run("ranks", "--results", results_folder, "--out", tmp_path / "out", "--resamples", 200)
    assert "wrote ranks.csv, ranks.json, ranks.svg, ranks.png" in done.output
    shown = run("ranks", "--results", results_folder, "--out", tmp_path / "out", "--json")
    assert json.loads(shown.output)["analysis"] == "ranks"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rank"], "unknown analysis 'rank'. Did you mean 'ranks'.*bench analyze --list"),
        (["ranks", "--metric", "dcie"], "Did you mean 'dice'"),
        (["ranks", "--task", "phantom"], "no task 'phantom' in the records"),
    ],
)
def test_unknown_words_are_one_line(results_folder, tmp_path, words, message):
    done = run(*words, "--results", results_folder, "--out", tmp_path)
    assert isinstance(done.exception, BenchError)
    with pytest.raises(BenchError, match=message):
        raise done.exception


def test_a_rank_is_not_shown_by_a_test_that_points_the_other_way():
    """A is better on 27 of 30 cases and fails on 3, so that B has the higher mean."""
    random = np.random.default_rng(0)
    second = random.uniform(0.6, 0.8, 30)
    first = second + random.uniform(0.005, 0.02, 30)
    first[:3] = 0
    values = np.stack([first, second])[:, None, None]
    identities = ({"method": "a"}, {"method": "b"})
    panel = Panel("t", "5", "dice", "", ("a", "b"), identities, ("0",), tuple("c" * 30), values)
    ours = significance.compare_pairs(panel, Options()).iloc[0]
    assert ours["p_adjusted"] < 0.01 and ours["mean"] < 0 < ours["rank_biserial"]
    table, _ = ranking.rank(panel.best_first(), Options(resamples=10))
    assert list(table["method"]) == ["b", "a"]
    assert list(table["low"]) == [1, 1] and list(table["high"]) == [2, 2]
    assert list(table["tier"]) == [1, 1]
    figure, axes = plt.subplots()
    significance._draw(axes, panel, significance.compare_pairs(panel, Options()), 0.05)
    clear = axes.collections[0].get_array().reshape(2, 2)
    np.testing.assert_array_equal(clear, [[0, 1], [-1, 0]])  # a's row is the better one
    plt.close(figure)
