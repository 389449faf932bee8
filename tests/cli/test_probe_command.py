"""``bench probe``: the table of recorded encoders against the random one, and its refusals."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medssl_bench import registry

PLUGIN = Path(__file__).parents[1] / "plugins" / "small.py"
SETTINGS = ("pretrain.steps=2", "pretrain.batch=2", "corpus_size=2", "tracking=false")
CHOSEN = (
    "--profile", "demo", "--device", "cpu", "--plain", "--results", "results",
    *(word for setting in SETTINGS for word in ("--set", setting)),
)  # fmt: skip


@pytest.fixture
def small_task() -> Iterator[tuple[str, ...]]:
    """Options of the plugin's task; its registration is taken back for the tests that follow."""
    yield ("--task", "phantom_small", "--plugin", str(PLUGIN))
    registry.tasks.entries().pop("phantom_small", None)
    for name in [name for name in sys.modules if name.startswith("bench_plugin_small_")]:
        del sys.modules[name]


def test_recorded_encoders_stand_beside_the_random_one(bench, small_task):
    assert bench("pretrain", "--methods", "simmim", *CHOSEN).code == 0
    command = ("probe", *small_task, *CHOSEN, "--crops", "6")
    outcome = bench(*command, "--methods", "simmim,rotation")
    assert outcome.code == 1
    assert "rotation; `bench pretrain --methods rotation`" in outcome.out
    assert "24 of 4 training cases, 12 of 2 test cases" in outcome.out
    rows = [line.split() for line in outcome.out.splitlines()]
    table = {row[0]: row[1:] for row in rows if row and row[0] in ("simmim", "scratch")}
    assert set(table) == {"simmim", "scratch"} and len(table["simmim"]) == 12

    folder = Path("results/probe/phantom_small_swin_tiny")
    document = json.loads((folder / "probe.json").read_text())
    assert document["missing"] == ["rotation"]
    assert (document["cases"], document["crops"]) == (
        {"train": 4, "test": 2},
        {"train": 24, "test": 12},
    )
    methods = {row["method"]: row for row in document["methods"]}
    assert list(methods) == sorted(methods, key=lambda name: -methods[name]["linear"]["mean"])
    (key,) = (path.name for path in Path("results/pretraining").iterdir())
    info = json.loads(Path(f"results/pretraining/{key}/pretraining.json").read_text())
    assert methods["simmim"]["pretraining"] == key
    assert methods["simmim"]["weights_digest"] == info["weights_digest"]
    assert methods["scratch"]["pretraining"] is None
    for kind in ("linear", "knn"):
        random, found = methods["scratch"][kind], methods["simmim"][kind]
        assert random["gain"] is None
        assert found["gain"] == pytest.approx(found["mean"] - random["mean"])
        scored = [value for value in found["targets"].values() if value is not None]
        assert found["mean"] == pytest.approx(sum(scored) / len(scored))
        assert f"{found['mean']:.3f}" in table["simmim"]
    for name, counts in document["targets"].items():
        told = 0 < counts["train_crops"] < 24 and 0 < counts["test_crops"] < 12
        assert (methods["simmim"]["linear"]["targets"][name] is not None) == told

    with (folder / "probe.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 2 * (1 + 9)
    means = {row["method"]: row["linear_auc"] for row in lines if row["target"] == "mean"}
    assert float(means["simmim"]) == pytest.approx(methods["simmim"]["linear"]["mean"])

    again = bench(*command, "--methods", "scratch", "--json")
    assert again.code == 0 and again.err == ""
    assert json.loads(again.out)["methods"] == [methods["scratch"]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--task", "phantom_tc"), "unknown task 'phantom_tc'. Did you mean 'phantom_ct'?"),
        (("--task", "phantom_[cm]*"), "one task at a time; 2 match"),
        (("--task", "phantom_ct", "--methods", "simmin"), "Did you mean 'simmim'?"),
        (("--task", "phantom_ct", "--level", "stagee1"), "Did you mean 'stage1'?"),
        (("--task", "phantom_ct", "--crops", "0"), "--crops"),
        (("--task", "phantom_ct", "--share", "1"), "--share"),
        ((), "Missing option '--task'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_word_is_one_line(bench, words, told):
    outcome = bench("probe", "--methods", "scratch", *CHOSEN, *words)
    assert outcome.code == 2 and outcome.out == ""
    assert outcome.line.startswith("bench: ") and told in outcome.line
    assert not Path("results/probe").exists()


def test_encoders_that_are_not_recorded_are_named_before_anything_starts(bench):
    outcome = bench("probe", "--methods", "simmim,smit", "--task", "phantom_ct", *CHOSEN)
    assert outcome.code == 2 and outcome.out == ""
    assert "no encoder of simmim, smit in results" in outcome.line
    assert "`bench pretrain --methods simmim,smit`" in outcome.line
    assert not list(Path.cwd().rglob("*.b2nd"))
