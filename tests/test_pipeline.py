"""The main job end to end, for real, at small size: run, record, resume, share, report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

PLUGIN = Path(__file__).parent / "plugins" / "small.py"
SETTINGS = [
    "pretrain.steps=5",
    "pretrain.batch=2",
    "pretrain.crop=[32, 32, 32]",
    "finetune.crop=[32, 32, 32]",
    "finetune.steps=6",
    "corpus_size=2",
    "checkpoint_minutes=0.0001",
    "methods.smit.hidden=16",
    "methods.smit.bottleneck=8",
    "methods.smit.out=32",
    "tracking=false",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose bench.yaml shares one cache between the tests."""
    (tmp_path / "bench.yaml").write_text(f"profile: demo\ncache: {cache}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(methods: str, results: str, *more: str) -> list[str]:
    bench = [sys.executable, "-m", "medssl_bench", "run", "--plain", "--device", "cpu"]
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return [
        *bench, "--methods", methods, "--tasks", "phantom_small", "--shots", "2", "--draws", "1",
        "--plugin", str(PLUGIN), "--results", results, *sets, *more,
    ]  # fmt: skip


def bench(methods: str, results: str, *more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        words(methods, results, *more), capture_output=True, text=True, env=environment
    )


def records(results: Path) -> dict[str, dict]:
    found = [json.loads(path.read_bytes()) for path in results.glob("records/*/*/record.json")]
    return {record["cell"]["method"]: record for record in found}


def test_one_command_goes_from_phantoms_to_a_page(folder: Path) -> None:
    done = bench("scratch,simmim,smit", "results", "--workers", "2", "--set", "tracking=true")
    assert done.returncode == 0, done.stderr
    found = records(folder / "results")
    assert set(found) == {"scratch", "simmim", "smit"}
    assert found["scratch"]["cell"]["pretraining"] == "none"
    assert found["scratch"]["cell"]["protocol"] == found["smit"]["cell"]["protocol"]
    for record in found.values():
        assert all(len(record["digests"][name]) == 64 for name in ("weights", "split"))
        assert record["draw"]["labelled_total"] == 2
        assert set(record["draw"]["cases"]) <= set(record["split"]["train"])
        assert record["cost"]["steps"] == 6

    infos = (folder / "results").glob("pretraining/*/pretraining.json")
    costs = {info["method"]: info["cost"] for info in (json.loads(p.read_bytes()) for p in infos)}
    assert costs["simmim"]["crops"] == 5 * 2  # steps, batch
    assert costs["smit"]["crops"] == 5 * 2 * 2  # and two views of each scan

    from medssl_bench import load_encoder, load_results

    table = load_results(folder / "results")
    assert len(table) == 3 * 2 * 9  # methods, test cases, targets
    assert {"case", "target", "dice", "hd95", "status"} <= set(table.columns)

    import torch

    key = found["simmim"]["cell"]["pretraining"]
    encoder = load_encoder(folder / "results" / "pretraining" / key)
    levels = encoder(torch.zeros(1, 1, 48, 48, 48))
    assert list(levels) == [level.name for level in encoder.levels]

    again = bench("scratch,simmim,smit", "results")
    assert "cells: 0 to run, 3 recorded and skipped" in again.stdout
    assert records(folder / "results") == found

    from medssl_bench.analysis.leaderboard.page import build_report

    page = build_report(folder / "results", folder / "report").read_text("utf-8")
    assert "phantom_small" in page and "smit" in page

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/results/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "medssl-bench")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3 + 2  # cells and pretrainings
    assert all("loss" in run.data.metrics for run in runs)


def kill_at_a_checkpoint(results: Path, kind: str) -> None:
    """Start the run and SIGKILL it once a checkpoint of this kind of unit is there."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        words("smit", results.name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    limit = time.monotonic() + 240
    while not list(results.glob(f"work/{kind}-*/**/checkpoint-*.pt")):
        assert process.poll() is None, "ended before it wrote a checkpoint"
        assert time.monotonic() < limit, "no checkpoint"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_and_ends_bit_for_bit_the_same(folder: Path) -> None:
    whole, broken = folder / "whole", folder / "broken"
    done = bench("smit", "whole")
    assert done.returncode == 0, done.stderr
    kill_at_a_checkpoint(broken, "pretraining")
    assert not list(broken.glob("pretraining/*"))
    kill_at_a_checkpoint(broken, "cell")
    assert not records(broken)
    done = bench("smit", "broken")
    assert done.returncode == 0, done.stderr
    first, second = records(whole)["smit"], records(broken)["smit"]
    assert second["resumed"] >= 1
    assert second["digests"] == first["digests"]
    assert second["metrics"] == first["metrics"]
    assert second["key"] == first["key"]
    for name in ("cases", "history"):
        (a,) = whole.glob(f"records/*/*/{name}.parquet")
        (b,) = broken.glob(f"records/*/*/{name}.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(a), pd.read_parquet(b), check_exact=True)
    kept = [sorted(results.glob("records/*/*/predictions/*")) for results in (whole, broken)]
    assert len(kept[0]) == 2
    for a, b in zip(*kept, strict=True):
        assert a.name == b.name and a.read_bytes() == b.read_bytes()
    assert not list((broken / "work").iterdir())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_saves_what_runs_in_every_process_and_says_so_in_a_line(
    folder: Path, workers: str
) -> None:
    process = subprocess.Popen(
        [*words("smit", "stopped"), "--workers", workers], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    results = folder / "stopped"
    limit = time.monotonic() + 240
    while not list(results.glob("work/pretraining-*/**/checkpoint-*.pt")):
        assert process.poll() is None, "ended before it wrote a checkpoint"
        assert time.monotonic() < limit, "no checkpoint"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "saving what runs" in told and "run the same command again" in told
    assert "Traceback" not in told and "KeyboardInterrupt" not in told
    assert list(results.glob("work/pretraining-*/**/checkpoint-*.pt"))
    done = bench("smit", "stopped")
    assert done.returncode == 0, done.stderr
    assert len(records(results)) == 1 and not list((results / "work").iterdir())


def test_two_processes_share_the_work_instead_of_doubling_it(folder: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pair = [
        subprocess.Popen(
            words("scratch,simmim", "shared"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    lines = [line for _, err in outputs for line in err.splitlines() if line.startswith("done")]
    units = [line for line in lines if not line.split()[1].startswith("prepare")]
    assert len(units) == 3, units  # one pretraining and two cells, each done once
    assert set(records(folder / "shared")) == {"scratch", "simmim"}


def test_validation_selects_weights_and_counts_its_cases(folder: Path) -> None:
    done = bench(
        "scratch", "results", "--select", "validation", "--set", "finetune.validation_cases=1",
        "--set", "finetune.validation_every=2", "--set", "finetune.patience=1",
        "--set", "finetune.lr=1.0e-30",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = records(folder / "results")["scratch"]
    assert record["draw"]["labelled_total"] == 3
    # Weights that stay as they are do not improve: patience ends at the second round of three.
    assert record["cost"]["steps"] == 4
    assert record["settings"]["equivalent_epochs"] == 4 * 2 / 2  # batch, training cases
    (path,) = (folder / "results").glob("records/*/*/history.parquet")
    history = pd.read_parquet(path)
    assert list(history["step"][history["validation_dice"].notna()]) == [2, 4]
