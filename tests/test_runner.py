"""What a run says of work that failed at first and was recorded later."""

import importlib.metadata
import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medssl_bench.claims import Claim
from medssl_bench.cli import bench
from medssl_bench.config import load_settings
from medssl_bench.errors import BenchError, CaseError, FaultyDataError
from medssl_bench.plan import Plan, Request, build_plan
from medssl_bench.provenance import library_versions
from medssl_bench.record import Record
from medssl_bench.runner import _recorded_units, run_plan
from medssl_bench.store import Store
from medssl_bench.training import Compute
from medssl_bench.worker import Failure, Worker

EXAMPLE = Path(__file__).with_name("example_record.json")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    request = Request(("scratch",), ("phantom_ct",), ("5",), load_settings("demo", {"draws": 2}))
    store = Store(tmp_path, read_only=True, missing_ok=True)
    return build_plan(request, Compute("cpu", "32-true", 1), store)


def test_the_log_of_a_failure_goes_when_its_unit_is_recorded(plan: Plan, tmp_path: Path) -> None:
    worker = Worker(plan, tmp_path, tmp_path / "cache", lambda event: None)

    def broken(claim: Claim) -> str:
        raise ZeroDivisionError("by chance")

    failed = worker._try("cell-1", "unit", lambda: False, broken)
    assert isinstance(failed, Failure) and "ZeroDivisionError: by chance" in failed.reason
    assert [path.name for path in (tmp_path / "failures").iterdir()] == ["unit.1.txt"]
    (told,) = status(tmp_path)["failed"]
    assert (told["unit"], told["reason"]) == ("unit", "ZeroDivisionError: by chance")
    # One of another seed or size may have the same title.
    assert worker._try("cell-2", "unit", lambda: False, lambda claim: "fine") is True
    assert len(status(tmp_path)["failed"]) == 1
    assert worker._try("cell-1", "unit", lambda: False, lambda claim: "fine") is True
    assert list((tmp_path / "failures").iterdir()) == []

    def faulty(claim: Claim) -> str:
        raise FaultyDataError("a.nii.gz: cannot be read")

    # The same unit has another key once its data are repaired.
    worker._try("cell-3", "unit", lambda: False, faulty)
    assert worker._try("cell-4", "unit", lambda: False, lambda claim: "fine") is True
    assert list((tmp_path / "failures").iterdir()) == []


def test_what_no_record_could_name_is_told_before_anything_starts(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.metadata.version

    def version(name: str) -> str:
        if name == "timm":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    library_versions.cache_clear()
    with pytest.raises(BenchError, match="timm is not installed"):
        run_plan(plan, tmp_path / "results", tmp_path / "cache", 1, lambda event: None)
    assert not (tmp_path / "results").exists() and not (tmp_path / "cache").exists()


def test_status_names_what_is_unfinished_and_what_failed(plan: Plan, tmp_path: Path) -> None:
    worker = Worker(plan, tmp_path, tmp_path / "cache", lambda event: None)

    def refused(claim: Claim) -> str:
        raise CaseError("a.nii.gz: cannot be read")

    def diverged(claim: Claim) -> str:
        (claim.checkpoint_folder / "checkpoint").touch()
        raise CaseError("the loss is not finite")

    worker._try("cell-1", "a unit", lambda: False, refused)
    worker._try("cell-2", "b unit", lambda: False, diverged)
    found = status(tmp_path)
    assert [(f["unit"], f["reason"]) for f in found["failed"]] == [
        ("a unit", "a.nii.gz: cannot be read"), ("b unit", "the loss is not finite"),
    ]  # fmt: skip
    assert found["unfinished"] == [{"unit": "b unit", "work": "cell-2"}]


def status(folder: Path) -> dict[str, list[dict[str, str]]]:
    words = ["status", "--json", "--results", str(folder)]
    return json.loads(CliRunner().invoke(bench, words, standalone_mode=False).output)


def test_units_that_another_worker_recorded_are_no_failures(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert _recorded_units(plan, store) == set()
    first = plan.cells[0]
    data = json.loads(EXAMPLE.read_bytes())
    data |= {"cell": first.cell.model_dump(), "key": first.cell.key}
    cases = pd.DataFrame({"case": ["a"], "target": ["liver"], "status": ["ok"]})
    store.write(Record.model_validate_json(json.dumps(data)), cases, pd.DataFrame({"step": [1]}))
    assert _recorded_units(plan, store) == {first.title}
