"""Records are copied to MLflow by one process of a results folder at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medssl_bench import tracking
from medssl_bench.claims import Claim

SYNC = """
import sys
from pathlib import Path
from medssl_bench.progress import Event
from medssl_bench.tracking import Tracker
with Tracker(Path(sys.argv[1]), enabled=True, emit=lambda event: print(event.note)):
    pass
"""


def test_a_copy_waits_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    monkeypatch.setattr(tracking, "sync", lambda results: copies.append(results) or 0)
    claim = Claim.acquire(tmp_path / "tracking", "mlflow", stale_after=60)
    assert claim is not None
    assert tracking.sync_alone(tmp_path) is None
    claim.release(done=True)
    assert tracking.sync_alone(tmp_path) is not None
    assert copies == [tmp_path]


def test_two_processes_make_one_experiment(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from medssl_bench.store import Store

    Store(tmp_path)
    command = [sys.executable, "-c", SYNC, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["", ""]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_experiment_by_name(tracking.EXPERIMENT) is not None
