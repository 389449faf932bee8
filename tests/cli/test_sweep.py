"""``bench sweep``: plans together, runs here, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medssl_bench.data.reading import FileSource
from medssl_bench.slurm.sweep import load_sweep, plan_sweep

SHORT = (
    "set: {pretrain.steps: 2, finetune.steps: 2, pretrain.batch: 2, similarity: false,"
    " tracking: false, example_slices: 0, keep_predictions: false}"
)
TWO_RUNS = f"""
reference: a trial
defaults: {{profile: demo, tasks: TASK, shots: 1, {SHORT}}}
runs:
  - {{methods: [scratch, simmim], corpus_size: 2}}
  - {{methods: simmim, corpus_size: [0, 2], draws: 2}}
"""


@pytest.fixture
def two_runs(write_task, tmp_path) -> Path:
    """Three plans: scratch and SimMIM, and of a second draw scratch again, and SimMIM again."""
    task = write_task(tmp_path / "cubes")
    path = tmp_path / "trial.yaml"
    path.write_text(TWO_RUNS.replace("TASK", str(task)))
    return path


def test_a_dry_run_shows_every_run_and_the_sum(bench, two_runs):
    outcome = bench("sweep", two_runs, "--dry-run")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "sweep trial: a trial"
    assert [line.partition(":")[0] for line in lines[1:4]] == [f"run {n} of 3" for n in (1, 2, 3)]
    assert lines[1].endswith("to run: 1 of 1 pretrainings, 2 of 2 cells")
    # Scratch and SimMIM, each of two draws; the first draw is in two runs.
    assert "pretrainings 1, 0 recorded; cells 4, 0 recorded; results in bench-results" in lines[4]
    assert not Path("bench-results/records").exists()
    document = json.loads(bench("sweep", two_runs, "--dry-run", "--json").out)
    assert (document["sweep"], document["cells"], document["pretrainings"]) == ("trial", 4, 1)
    assert [len(run["cells"]) for run in document["runs"]] == [2, 2, 2]


def test_it_runs_what_is_missing_once(bench, two_runs):
    outcome = bench("sweep", two_runs, "--plain", "--device", "cpu", "--results", "done")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "4 of 4 cells are recorded in done"
    assert len(list(Path("done/records").glob("*/*"))) == 4
    assert len(list(Path("done/pretraining").iterdir())) == 1
    again = json.loads(bench("sweep", two_runs, "--json", "--results", "done").out)
    assert (again["recorded"], again["pretrained"], again["unrecorded"]) == (4, 1, 0)


def test_runs_that_share_data_read_it_once(two_runs, monkeypatch, tmp_path):
    read: list[str] = []
    header = FileSource.header

    def count(self: FileSource):
        read.append(str(self.path))
        return header(self)

    monkeypatch.setattr(FileSource, "header", count)
    planned = plan_sweep(load_sweep(two_runs), results=tmp_path / "none", device="cpu")
    assert len(planned.plans) == 3
    assert len(read) == len(set(read)) == 2 * 3  # image and label of three cases


def test_estimate_needs_no_data(bench):
    outcome = bench("sweep", "few_shot", "--estimate")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("# 144 cells after 5 pretrainings")
    assert "GPU-hours unknown until measured" in outcome.out
    more = json.loads(bench("sweep", "few_shot", "--estimate", "--set", "draws=5", "--json").out)
    assert more["cells"] == 6 * 6 * (3 * 5 + 1)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["few_shots"], ["unknown sweep 'few_shots'", "'few_shot'"]),
        (["gone.yaml"], ["gone.yaml: no such file"]),
        (["few_shot"], ["sweep few_shot: run 1 of 1", "amos_ct", "no data folder given"]),
        (["few_shot", "--estimate", "--results", "gone"], ["no results in gone"]),
        (["few_shot", "--executor", "slurm"], ["no SLURM on this machine: sbatch not found"]),
    ],
)
def test_wrong_use_is_one_line(bench, monkeypatch, tmp_path, words, told):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = bench("sweep", *words)
    assert (outcome.code, outcome.out) == (2, "")
    for part in told:
        assert part in outcome.line


def test_an_unknown_name_says_in_which_run(bench, two_runs):
    two_runs.write_text(two_runs.read_text().replace("methods: simmim,", "methods: simmin,"))
    line = bench("sweep", two_runs, "--dry-run").line
    assert "sweep trial: run 2 of 3: unknown method 'simmin'. Did you mean 'simmim'?" in line
