"""A real cluster of one node, through the public commands: whatever happens, records are equal.

`make cluster` starts one (tests/slurm/cluster.sh) and names its folder in BENCH_TEST_CLUSTER.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from trial import (
    CLUSTER,
    ONE_THREAD,
    PATIENCE,
    PAUSED,
    SETTINGS,
    SITE,
    SMALL,
    Trial,
    evidence,
    restart,
    resumed,
    slurm,
)

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CLUSTER is None, reason="no test cluster: `make cluster` starts one"),
]


MLFLOW_ALONE = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One folder of all processes of the test run."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def undisturbed(shared: Path) -> dict[str, Any]:
    """Evidence of a local run of both methods; made by the first process that asks."""
    trial = Trial(shared / "undisturbed", shared / "cache", methods="scratch,simmim")
    with FileLock(shared / "undisturbed.lock"):
        trial.run()
    return evidence(trial.results)


@pytest.fixture
def trial(
    undisturbed: dict[str, Any], shared: Path, tmp_path: Path
) -> Iterator[Callable[..., Trial]]:
    made: list[Trial] = []

    def make(**words: Any) -> Trial:
        made.append(Trial(tmp_path / f"trial{len(made)}", shared / "cache", **words))
        return made[-1]

    yield make
    for one in made:
        one.bench("cancel", "--all", "--results", "results", code=None)


def equal(trial: Trial, undisturbed: dict[str, Any]) -> None:
    found = evidence(trial.results)
    assert found and found == {key: undisturbed[key] for key in found}
    assert not list(trial.results.glob("work/*")), "claims or checkpoints were left"
    hidden = [p for p in trial.results.rglob(".*") if "slurm" not in p.parts]  # submitit's stay
    assert not hidden, "temporary files were left"


def test_a_sweep_runs_after_its_needs_and_only_once(trial, undisturbed) -> None:
    one = trial(methods="scratch,simmim")
    first = one.submit()
    assert len(first["jobs"]) == 3  # an encoder and two cells; the cache is filled already
    again = one.run("--site", "site.yaml", "--plugin", str(PAUSED))
    assert "nothing to submit: everything is queued or running" in again.stdout
    one.finish()
    equal(one, undisturbed)
    assert set(evidence(one.results)) == set(undisturbed)
    assert "nothing to submit: everything is recorded" in one.run("--site", "site.yaml").stdout
    shown = one.bench("status", "--results", "results").stdout
    assert re.search(r"finetune +2 +- +- +- +- +- +-", shown)
    assert "simmim phantom_small" in one.bench("logs", "simmim", "--results", "results").stdout


def test_an_experiment_of_a_file_is_submitted_once_and_not_under_other_settings(
    trial, undisturbed
) -> None:
    one = trial(methods="scratch,simmim")
    settings = dict(setting.split("=", 1) for setting in SETTINGS)
    run = {
        "methods": ["scratch", "simmim"], "tasks": ["phantom_small"], "shots": [2], "draws": 1,
        "set": {name: yaml.safe_load(value) for name, value in settings.items()},
    }  # fmt: skip
    (one.folder / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", "runs": [run]}))
    words = ["sweep", "mine.yaml", "--site", "site.yaml", "--results", "results"]
    words += ["--plugin", str(SMALL), "--plugin", str(PAUSED)]
    said = one.bench(*words).stdout
    assert "pretrain: 1 unit in 1 job: " in said
    assert said.count("finetune: 1 unit in 1 job: ") == 2  # of which one waits for nothing
    assert "everything is queued or running" in one.bench(*words).stdout
    changed = one.bench(*words, "--set", "finetune.lr=0.5", code=2).stderr.strip()
    assert len(changed.splitlines()) == 1 and "finetune.lr was" in changed
    one.finish()
    equal(one, undisturbed)
    assert set(evidence(one.results)) == set(undisturbed)


@pytest.mark.parametrize("how", ["requeue", "USR1", "USR2"])
def test_a_preempted_job_goes_on(trial, undisturbed, how: str) -> None:
    one = trial()
    one.submit()
    one.in_training()
    if how == "requeue":
        slurm("scontrol", "requeue", one.job())
    else:
        slurm("scancel", f"--signal={how}", one.job())
    one.finish()
    equal(one, undisturbed)
    assert resumed(one.results) >= 1
    if how != "requeue":
        assert re.search(r"stopped after step \d+; to be requeued", one.logs())


def test_tasks_of_an_array_are_requeued_each_for_itself(trial) -> None:
    """SLURM gives one task of an array the number of the whole array."""
    one, calm = trial(), trial()
    one.more = calm.more = ["--draws", "2"]
    assert [job.partition("_")[2] for job in one.submit()["jobs"]][-2:] == ["0", "1"]
    end = time.monotonic() + PATIENCE
    while len(list(one.results.glob("work/cell-*/generation-*/checkpoint-*.pt"))) < 3:
        assert time.monotonic() < end
        time.sleep(0.2)
    cells = [u for u in one.status()["units"] if u["stage"] == "finetune"]
    assert [u["state"] for u in cells] == ["running", "running"]
    slurm("scancel", "--signal=USR1", cells[-1]["job"])
    calm.run()
    one.finish()
    equal(one, evidence(calm.results))
    sessions = [json.loads(path.read_bytes())["resumed"]
                for path in one.results.glob("records/*/*/record.json")]  # fmt: skip
    assert sorted(sessions) == [0, 1]


def test_a_job_at_its_time_limit_goes_on(trial, undisturbed, monkeypatch) -> None:
    # The notice comes up to a minute before it is asked for: here 20 to 80 s after the start.
    monkeypatch.setenv("BENCH_TEST_PAUSE", "2.5")
    one = trial(site="cpus: 1\ngpus: 0\nminutes: 3\nsignal_seconds: 100\n")
    one.submit()
    one.finish()
    equal(one, undisturbed)
    assert "requeued" in one.logs() and resumed(one.results) >= 1


def test_a_killed_process_is_put_back(trial, undisturbed) -> None:
    one = trial()
    one.submit()
    one.in_training()
    os.kill(one.owner(), signal.SIGKILL)
    one.finish()
    equal(one, undisturbed)
    assert resumed(one.results) >= 1


def test_a_cancelled_cell_is_gone_on_with_when_asked(trial, undisturbed) -> None:
    one = trial()
    one.submit()
    one.in_training()
    slurm("scancel", one.job())
    (unit,) = [u for u in one.wait()["units"] if u["stage"] == "finetune"]
    assert unit["state"] == "cancelled"
    assert "nothing to retry" in one.bench("retry", "--failed", "--results", "results").stdout
    one.bench("retry", "scratch", "--results", "results")
    one.finish()
    equal(one, undisturbed)
    assert resumed(one.results) >= 1


def test_a_damaged_checkpoint_is_passed_over(trial, undisturbed) -> None:
    one = trial()
    one.submit()
    folder = one.in_training()
    while len(list(folder.glob("checkpoint-*.pt"))) < 2:
        time.sleep(0.1)
    one.bench("cancel", "--all", "--results", "results")
    one.wait()
    newest = max(folder.parent.rglob("checkpoint-*.pt"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    one.bench("retry", "scratch", "--results", "results")
    one.finish()
    equal(one, undisturbed)
    assert "damaged checkpoint, the one before it is used" in one.logs()


def test_a_full_disk_is_named_and_gone_on_from(trial, undisturbed) -> None:
    one = trial()
    one.results.mkdir()
    slurm("mount", "-t", "tmpfs", "-o", "size=120m", "none", str(one.results))
    try:
        one.submit()
        one.in_training()
        filler = one.results / "filler"
        with filler.open("wb") as stream, pytest.raises(OSError):
            while True:
                stream.write(bytes(2**16))
                stream.flush()
        found = one.wait()
        (unit,) = [u for u in found["units"] if u["stage"] == "finetune"]
        filler.unlink()
        assert (unit["state"], unit["class"]) in {("failed", "disk"), ("lost", "node")}, found
        one.bench("retry", "scratch", "--results", "results")
        one.finish()
        equal(one, undisturbed)
    finally:
        one.bench("cancel", "--all", "--results", "results", code=None)
        shutil.copytree(one.results, one.folder / "kept")
        slurm("umount", "--lazy", str(one.results))


@pytest.mark.parametrize("daemon", ["slurmd", "slurmctld"])
def test_a_daemon_that_dies_and_comes_back_changes_nothing(trial, undisturbed, daemon) -> None:
    one = trial()
    one.submit()
    one.in_training()
    with FileLock(f"{CLUSTER}/{daemon}.lock"):
        restart(daemon)
    one.finish()
    equal(one, undisturbed)


def test_a_folder_that_the_nodes_do_not_see_is_named(trial, undisturbed) -> None:
    one = trial()
    with FileLock(f"{CLUSTER}/slurmd.lock"):
        restart("slurmd", hidden=one.folder)
        try:
            one.submit()
            (unit,) = [u for u in one.wait()["units"] if u["stage"] == "finetune"]
        finally:
            restart("slurmd")
    assert unit["state"] == "lost"
    assert unit["detail"].endswith("can the nodes see and write it?")
    one.bench("retry", "--failed", "--results", "results")
    one.finish()
    equal(one, undisturbed)


def test_what_needs_a_failed_encoder_says_so(trial) -> None:
    one = trial(methods="simmim")
    one.more = ["--set", "pretrain.lr=1e30", "--set", "precision=32-true"]
    one.submit()
    found = {unit["stage"]: unit for unit in one.wait()["units"]}
    assert (found["pretrain"]["state"], found["pretrain"]["class"]) == ("failed", "nan")
    assert found["finetune"]["state"] == "skipped"
    assert found["finetune"]["detail"].startswith("needs: pretrain simmim on phantom_ct")


def test_two_processes_of_a_job_train_what_one_does(trial, undisturbed) -> None:
    one = trial(
        methods="simmim",
        site="cpus: 1\ngpus: 0\nminutes: 20\nsignal_seconds: 30\npretrain: {tasks_per_node: 2}\n",
    )
    one.submit()
    one.in_training("pretraining")
    slurm("scancel", "--signal=USR1", one.job())
    one.finish()
    (path,) = one.results.glob("pretraining/*/pretraining.json")
    info = json.loads(path.read_bytes())
    assert info["key"] in undisturbed  # devices are in no key
    alone = path.parents[3] / "x"
    assert info["resumed"] >= 1 and not alone.exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_processes_that_is_killed_puts_the_job_back(trial, undisturbed, rank) -> None:
    one = trial(
        methods="simmim",
        site="cpus: 1\ngpus: 0\nminutes: 20\nsignal_seconds: 30\npretrain: {tasks_per_node: 2}\n",
    )
    one.submit()
    one.in_training("pretraining")
    os.kill(process_of(one.results, rank), signal.SIGKILL)
    one.finish()
    (path,) = one.results.glob("pretraining/*/pretraining.json")
    info = json.loads(path.read_bytes())
    assert info["key"] in undisturbed
    assert info["resumed"] >= 1
    assert "killed by signal 9" in "".join(
        kills.read_text() for kills in one.results.glob("slurm/*/*/*.kills")
    )


def process_of(results: Path, rank: int) -> int:
    """Process id of this rank of the job that works in this folder."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            variables = (path / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if f"SLURM_PROCID={rank}".encode() in variables and any(
            str(results).encode() in w for w in words
        ):
            return int(path.name)
    raise AssertionError(f"no process of rank {rank}")


def test_nodes_write_to_one_mlflow_server(trial, undisturbed, tmp_path, monkeypatch) -> None:
    from mlflow import MlflowClient

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    uri = f"http://127.0.0.1:{port}"
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1",
             "--backend-store-uri", f"sqlite:///{tmp_path}/server.db",
             "--artifacts-destination", str(tmp_path / "artifacts")],
            stdout=log, stderr=log, start_new_session=True, env=os.environ | MLFLOW_ALONE,
        )  # fmt: skip
    try:
        answers(f"{uri}/health")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        one = trial(methods="scratch,simmim")
        one.more = ["--set", "tracking=true"]
        one.submit()
        one.finish()
        equal(one, undisturbed)
        assert not (one.results / "mlflow.db").exists()
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("medssl-bench")
        runs = client.search_runs([experiment.experiment_id])
        assert {run.data.tags["bench.key"] for run in runs} == set(undisturbed)
        assert len(runs) == len(undisturbed)
        assert "0 records copied" in one.bench("sync", "--results", "results").stdout
    finally:
        os.killpg(server.pid, signal.SIGKILL)


def answers(address: str) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert time.monotonic() < end, address
            time.sleep(0.5)


def test_cells_share_a_job(trial, undisturbed) -> None:
    one = trial(methods="scratch,simmim", site=SITE + "finetune: {per_gpu: 2, cpus: 2}\n")
    one.run()  # the encoder, so that both cells wait for nothing
    shutil.rmtree(one.results / "records")
    assert len(one.submit()["jobs"]) == 1
    one.in_training()
    slurm("scancel", "--signal=USR1", [u for u in one.status()["units"]][0]["job"])
    one.finish()
    equal(one, undisturbed)


def begin(one: Trial, name: str) -> subprocess.Popen[bytes]:
    """Start a local run in the background; what it says goes to ``<name>.log``."""
    with (one.folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            one.words("--plugin", str(PAUSED), "--plain"), cwd=one.folder, stdout=log, stderr=log,
            env=os.environ | ONE_THREAD, start_new_session=True,
        )  # fmt: skip


def test_eight_processes_run_each_cell_once(trial, undisturbed) -> None:
    one = trial(methods="scratch,simmim")
    running = [begin(one, f"process{number}") for number in range(8)]
    assert [process.wait(PATIENCE) for process in running] == [0] * 8
    equal(one, undisturbed)
    said = "".join(path.read_text() for path in one.folder.glob("process*.log"))
    done = re.findall(r"^done +(.*? phantom_small 2 shots|pretrain simmim)", said, re.MULTILINE)
    assert sorted(done) == ["pretrain simmim", "scratch phantom_small 2 shots",
                            "simmim phantom_small 2 shots"]  # fmt: skip


def test_an_owner_frozen_past_its_claim_changes_nothing(trial, undisturbed, monkeypatch) -> None:
    monkeypatch.setenv("BENCH_TEST_STALE", "4")
    one = trial()
    frozen = begin(one, "frozen")
    one.in_training()
    os.killpg(frozen.pid, signal.SIGSTOP)
    assert begin(one, "other").wait(PATIENCE) == 0
    equal(one, undisturbed)
    before = {path: path.stat().st_mtime_ns for path in one.results.rglob("records/**/*")}
    os.killpg(frozen.pid, signal.SIGCONT)
    assert frozen.wait(PATIENCE) == 0
    equal(one, undisturbed)
    assert before == {path: path.stat().st_mtime_ns for path in one.results.rglob("records/**/*")}


def test_wrong_input_is_one_line(trial) -> None:
    one = trial()

    def refused(site: str, *words: str) -> str:
        (one.folder / "site.yaml").write_text(site)
        done = one.run("--site", "site.yaml", *words, code=2)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr

    assert "partitoin" in refused("partitoin: main\n")
    assert "Did you mean 'short'" in refused(
        "partition: shart\nminutes: 1\nsignal_seconds: 9\ngpus: 0\n"
    )
    assert "over the limit" in refused("partition: short\nminutes: 30\ngpus: 0\n")
    assert "gpu:1 is more than any node" in refused("gpus: 1\nminutes: 20\n")
    assert "--devices is of this machine" in refused(SITE, "--devices", "2")
