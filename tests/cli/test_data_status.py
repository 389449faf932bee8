"""``bench data status``: found and missing, the tree expected, faults of headers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medssl_bench import registry


def status(bench, *words: str | Path) -> dict[str, dict]:
    """Return the tasks by name."""
    return rows(bench, "task", *words)


def rows(bench, what: str, *words: str | Path) -> dict[str, dict]:
    outcome = bench("data", "status", *words, "--json")
    assert outcome.code == 0 and outcome.err == ""
    return {row["name"]: row for row in json.loads(outcome.out) if row["what"] == what}


@pytest.fixture
def amos(write_volume):
    """Write an AMOS tree of 2 CT training cases, 1 CT test case and no MRI."""

    def write(folder: Path) -> Path:
        for pool, numbers in (("Tr", ("0001", "0004")), ("Va", ("0008",))):
            for number in numbers:
                name = f"amos_{number}.nii.gz"
                write_volume(folder / f"amos22/images{pool}" / name, np.zeros((4, 5, 6), np.int16))
                write_volume(folder / f"amos22/labels{pool}" / name, np.zeros((4, 5, 6), np.uint8))
        return folder

    return write


def test_every_registered_task_is_told(bench):
    found = status(bench)
    assert list(found) == list(registry.tasks.entries())
    text = bench("data", "status").out
    for name, row in found.items():
        assert f"{name}: {row['state']}" in text
        assert row["found"] is (row["state"] != "missing")
        if row["state"] == "missing":
            assert row["reason"] and row["access"] and row["tree"]
            assert all(line.strip() in text for line in row["tree"].splitlines())
            assert row["access"] in text and row["licence"] in text
    assert found["phantom_ct"]["state"] == "generated"
    assert (found["phantom_ct"]["train"], found["phantom_ct"]["test"]) == (40, 24)
    assert found["amos_mri"]["state"] == "missing" and found["amos_mri"]["folder"] is None


def test_every_published_corpus_is_told(bench):
    found = rows(bench, "corpus")
    text = bench("data", "status").out
    known = {name: e for name, e in registry.corpora.entries().items() if not e.argument}
    assert list(found) == list(known)
    for name, row in found.items():
        assert row["state"] == ("missing" if known[name].info["needs_data"] else "generated")
        assert f"corpus {name}: {row['state']}" in text
        assert list(row["modalities"]) == known[name].info["modalities"]
        if row["state"] == "missing":
            assert row["access"] in text and row["licence"] in text
            assert all(line.strip() in text for line in row["tree"].splitlines())


def test_a_corpus_that_is_there(bench):
    assert bench("data", "synth", "ct_public", "--out", "data/ct_public").code == 0
    row = rows(bench, "corpus", "ct_public", "--data", "data")["ct_public"]
    assert (row["state"], row["cases"], row["modalities"]) == ("found", 6, {"CT": 6})
    assert row["parts"]["Pancreas-CT"] == 1 and row["folder"].endswith("data/ct_public")
    text = bench("data", "status", "ct_public", "--data", "ct_public=data/ct_public").out
    assert "2 CT Images in COVID-19, 1 Pancreas-CT" in text
    assert bench("data", "verify", "ct_public", "--data", "data").code == 0
    outcome = bench("data", "show", "ct_public", "pancreas_0001", "--data", "data")
    assert outcome.code == 0 and Path("pancreas_0001.png").is_file()
    outcome = bench("data", "prepare", "ct_public", "--data", "data", "--json")
    (prepared,) = json.loads(outcome.out)
    assert (prepared["cases"], prepared["missing"], prepared["faults"]) == (6, 6, {})


def test_one_name_for_a_task_and_a_corpus(bench):
    """The task is meant, unless ``corpus:`` says otherwise."""
    name = next(n for n in registry.corpora.entries() if n in registry.tasks.entries())
    assert list(status(bench, name)) == [name] and rows(bench, "corpus", name) == {}
    assert list(rows(bench, "corpus", f"corpus:{name}")) == [name]
    assert status(bench, f"corpus:{name}") == {}


def test_a_corpus_of_too_few_cases_is_worth_a_warning(bench):
    assert bench("data", "synth", "brats2021", "--out", "data").code == 0
    words = ("pretrain", "--methods", "simmim", "--profile", "demo", "--dry-run")
    plan = bench(*words, "--corpus", "brats2021", "--data", "data", "--corpus-size", 4)
    assert plan.code == 0
    assert "brats2021: 4 of 1470 cases found; see `bench data status corpus:" in plan.out
    plan = bench(*words, "--corpus", "brats2021")
    assert plan.code == 2 and "brats2021: no data folder given" in plan.line


def test_what_is_found_stands_beside_what_the_release_has(bench, amos, monkeypatch):
    data = amos(Path("data").absolute())
    row = status(bench, "amos_ct", "--data", data)["amos_ct"]
    assert (row["state"], row["train"], row["test"]) == ("found", 2, 1)
    assert row["expected"] == {"train": 200, "test": 100}
    assert row["folder"] == str(data) and len(row["classes"]) == 15
    assert "2/200 training and 1/100 test" in bench("data", "status", "amos_ct", "--data", data).out
    plan = bench("run", "--methods", "scratch", "--tasks", "amos_ct", "--data", data, "--dry-run",
                 "--shots", "1", "--profile", "demo")  # fmt: skip
    assert "warning: amos_ct: 2 of 200 train cases found" in plan.out
    for words in (["--data", f"amos_ct={data}"], ["--data", data / "amos22"]):
        assert status(bench, "amos_ct", *words)["amos_ct"]["train"] == 2
    Path("bench.yaml").write_text(f"data: {{amos_ct: {data}}}")
    assert status(bench, "amos_*")["amos_ct"]["train"] == 2
    Path("bench.yaml").unlink()
    monkeypatch.setenv("BENCH_DATA", str(data))
    assert {name: row["state"] for name, row in status(bench, "amos_*").items()} == {
        "amos_ct": "found",
        "amos_mri": "missing",
    }


def test_faulty_headers_are_counted_and_named(bench, amos, write_volume):
    data = amos(Path("data"))
    write_volume(data / "amos22/labelsTr/amos_0001.nii.gz", np.zeros((4, 5, 7), np.uint8))
    (data / "amos22/imagesVa/amos_0008.nii.gz").write_bytes(b"nothing")
    row = status(bench, "amos_ct", "--data", data)["amos_ct"]
    assert (row["state"], row["errors"], row["warnings"]) == ("faulty", 2, 0)
    assert any("4x5x7" in text for text in row["findings"])
    text = bench("data", "status", "amos_ct", "--data", data).out
    assert "2 errors, 0 warnings" in text and "amos_0008" in text


def test_a_task_of_ones_own(bench, write_task):
    path = write_task(Path("mine"), train=3, test=2, licence="CC0", access="ask me")
    row = status(bench, path)["cubes"]
    assert (row["state"], row["train"], row["test"]) == ("found", 3, 2)
    assert (row["licence"], row["access"], row["classes"]) == ("CC0", "ask me", ["cube"])
    Path("mine/images").rename("mine/elsewhere")
    row = status(bench, path)["cubes"]
    assert row["state"] == "missing" and "no images 'images'" in row["reason"]
    assert "images: images" in bench("data", "status", path).out
