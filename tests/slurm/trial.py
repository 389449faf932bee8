"""A results folder on the test cluster, what is done to it, and what of it has to be equal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[2]
CLUSTER = os.environ.get("BENCH_TEST_CLUSTER")
"""Folder of the test cluster that `make cluster` starts with cluster.sh."""
SMALL, PAUSED = (ROOT / "tests" / "plugins" / f"{name}.py" for name in ("small", "paused"))
SETTINGS = [
    "pretrain.steps=20",
    "pretrain.batch=2",
    "pretrain.crop=[32, 32, 32]",
    "finetune.crop=[32, 32, 32]",
    "finetune.steps=30",
    "corpus_size=2",
    "checkpoint_minutes=0.02",
    "tracking=false",
    "similarity.groups=0",
    "evaluate.overlap=0.0",
]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""What the jobs have; another number changes the last bits."""
SITE = "cpus: 1\ngpus: 0\nminutes: 20\nsignal_seconds: 30\n"
PATIENCE = 600


class Trial:
    """One results folder on the cluster."""

    def __init__(self, folder: Path, cache: Path, site: str = SITE, methods: str = "scratch"):
        self.folder, self.results, self.methods = folder, folder / "results", methods
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "site.yaml").write_text(site)
        (folder / "bench.yaml").write_text(f"profile: demo\ncache: {cache}\n")
        self.more: list[str] = []

    def bench(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "medssl_bench", *words], cwd=self.folder, text=True,
            capture_output=True, env=os.environ | ONE_THREAD,
        )  # fmt: skip
        assert code is None or done.returncode == code, done.stderr + done.stdout
        return done

    def words(self, *more: str) -> list[str]:
        """What a run is asked for."""
        sets = [word for setting in SETTINGS for word in ("--set", setting)]
        return [
            sys.executable, "-m", "medssl_bench", "run", "--methods", self.methods,
            "--tasks", "phantom_small", "--shots", "2", "--draws", "1", "--plugin", str(SMALL),
            "--results", "results", *sets, *self.more, *more,
        ]  # fmt: skip

    def run(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.bench(*self.words(*words)[3:], code=code)

    def submit(self, *words: str) -> dict[str, Any]:
        done = self.run("--site", "site.yaml", "--plugin", str(PAUSED), "--json", *words)
        return json.loads(done.stdout)

    def status(self) -> dict[str, Any]:
        while True:
            told = self.bench("status", "--results", "results", "--json").stdout
            queue = json.loads(told)["queue"]
            if queue["queue_fault"] is None:  # the controller may be down for a moment
                return queue
            time.sleep(1)

    def wait(self) -> dict[str, Any]:
        """Wait until nothing waits or runs."""
        end = time.monotonic() + PATIENCE
        while (found := self.status())["goes_on"] or self.in_queue():
            assert time.monotonic() < end, (found, jobs())
            time.sleep(2)
        return found

    def in_queue(self) -> bool:
        """Whether SLURM still has a job of this folder; one may tidy up after its record."""
        shown = subprocess.run(
            ["squeue", "--noheader", "--format=%j"], capture_output=True, text=True
        )
        return any(path.name in shown.stdout for path in self.results.glob("slurm/*-*"))

    def finish(self) -> None:
        """Wait, and have all of it done."""
        found = self.wait()
        assert {unit["state"] for unit in found["units"]} == {"done"}, self.told(found)

    def told(self, found: dict[str, Any]) -> str:
        texts = [json.dumps(found, indent=1)]
        for unit in found["units"]:
            texts += [Path(log).read_text() for log in unit["logs"]]
        return "\n".join(texts)

    def in_training(self, kind: str = "cell") -> Path:
        """Wait until a checkpoint of this kind of work is there; returns its folder."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for path in self.results.glob(f"work/{kind}-*/generation-*/checkpoint-*.pt"):
                return path.parent
            time.sleep(0.1)
        raise AssertionError(self.told(self.status()))

    def job(self) -> str:
        """Id of the job that runs."""
        (found,) = [u for u in self.status()["units"] if u["state"] == "running"]
        return found["job"]

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self.results.glob("slurm/*/*/*_log.*"))

    def owner(self) -> int:
        """Process id of who does the work."""
        claims = sorted(self.results.glob("work/cell-*/generation-*.claim"))
        return int(json.loads(claims[-1].read_text())["pid"])


def jobs() -> str:
    return subprocess.run(["squeue"], capture_output=True, text=True).stdout


def slurm(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def evidence(results: Path) -> dict[str, Any]:
    """What has to be equal: weights, metrics and histories of every cell and encoder."""
    found: dict[str, Any] = {}
    for path in results.glob("records/*/*/record.json"):
        record = json.loads(path.read_bytes())
        cases, history = (
            pd.read_parquet(path.with_name(f"{name}.parquet")) for name in ("cases", "history")
        )
        found[record["key"]] = (
            record["digests"]["weights"], record["metrics"],
            cases.to_json(double_precision=15), history.to_json(double_precision=15),
        )  # fmt: skip
    for path in results.glob("pretraining/*/pretraining.json"):
        info = json.loads(path.read_bytes())
        found[info["key"]] = info["weights_digest"]
    return found


def resumed(results: Path) -> int:
    (path,) = results.glob("records/*/*/record.json")
    return int(json.loads(path.read_bytes())["resumed"])


def restart(daemon: str, hidden: Path | None = None) -> None:
    """Kill slurmd or slurmctld outright, and start it again a little later.

    ``hidden`` is a folder that it and its jobs then find empty.
    """
    assert CLUSTER is not None
    words = [daemon, "-D"]
    if hidden is not None:
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        words = ["unshare", "--mount", "sh", "-c", script, str(hidden), *words]
    number = Path(CLUSTER, f"{daemon}.pid")
    os.kill(int(number.read_text()), signal.SIGKILL)
    time.sleep(3)
    with Path(CLUSTER, f"{daemon}.out").open("a") as out:
        started = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    number.write_text(str(started.pid))
