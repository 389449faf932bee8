"""What is planned of templates in fine-tuning is what runs, and what the record says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from medssl_bench import calibration
from medssl_bench.config import load_settings
from medssl_bench.describe import plan_text
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.estimate import Hours, hours
from medssl_bench.keys import protocol_digest
from medssl_bench.methods.parts.template_files import write_templates
from medssl_bench.plan import Plan, Request, build_plan
from medssl_bench.provenance import device_name
from medssl_bench.record import Cell, Record
from medssl_bench.store import Store
from medssl_bench.tasks.corpora import phantom
from medssl_bench.training import Compute
from medssl_bench.units import Units


def plan_of(results: Path, *assignments: str) -> Plan:
    words = {"corpus": "phantom_brain", "backbone": "uniformer_tiny"}
    settings = load_settings("demo", words, ["corpus_size=4", *assignments])
    request = Request(("scratch", "brainmvp"), ("phantom_brain_tumor",), ("4",), settings)
    store = Store(results, read_only=True, missing_ok=True)
    return build_plan(request, Compute("cpu", "32-true", 1), store)


def added(plan: Plan) -> dict[str, str]:
    return {planned.cell.method: planned.cell.tuning for planned in plan.cells}


def test_templates_are_planned_where_the_corpus_has_a_contrast_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert added(plan_of(tmp_path)) == {"scratch": "", "brainmvp": "templates"}
    off = plan_of(tmp_path, "methods.brainmvp.tuning.use=false")
    assert added(off) == {"scratch": "", "brainmvp": ""}
    told = plan_text(off, tmp_path, tmp_path, Hours(None, None), 1)
    assert "brainmvp: adds nothing in fine-tuning on phantom_brain_tumor" in told
    assert "scratch: adds" not in told
    assert off.pretrainings.keys() == plan_of(tmp_path).pretrainings.keys()
    monkeypatch.setattr(phantom, "contrasts_of", lambda seed, site: ("DWI", "ADC"))
    assert added(plan_of(tmp_path)) == {"scratch": "", "brainmvp": ""}


def test_other_contrasts_are_another_protocol(tmp_path: Path) -> None:
    """They say which template takes the place of which channel."""
    plan = plan_of(tmp_path)
    found = plan.tasks["phantom_brain_tumor"]

    def digest_of(*contrasts: str) -> str:
        task = found.task.model_copy(update={"contrasts": contrasts})
        other = dataclasses.replace(found, task=task)
        return protocol_digest(other, plan.settings, "32-true", "uniformer_tiny")

    assert digest_of() == plan.cells[0].cell.protocol
    assert digest_of("T1", "T1c", "T2", "FLAIR") != digest_of("T1c", "T1", "T2", "FLAIR")


def test_a_file_named_almost_as_a_contrast_is_refused(tmp_path: Path) -> None:
    write_templates(tmp_path, {"t1": torch.rand(8, 8, 8)}, (1.0, 1.0, 1.0))
    with pytest.raises(BenchError, match=r"t1\.nii\.gz: .* written T1; rename the file to T1\.nii"):
        plan_of(tmp_path / "r", f"methods.brainmvp.tuning.folder={tmp_path}")


def test_calibration_says_why_cells_with_templates_are_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_seconds_per_step", lambda *_: 0.1)
    plan = plan_of(tmp_path)
    found = calibration.measured_hours(plan, tmp_path, lambda event: None)
    assert found.pretraining and found.cells is None
    told = plan_text(plan, tmp_path, tmp_path, found, 1)
    assert "brainmvp has a part in fine-tuning that only its first cell times" in told


def test_templates_that_changed_since_the_plan_are_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    volume = torch.rand((8, 8, 8), generator=torch.Generator().manual_seed(0))
    write_templates(folder, {"T1": volume}, (1.0, 1.0, 1.0))
    plan = plan_of(tmp_path / "r", f"methods.brainmvp.tuning.folder={folder}")
    (planned,) = [one for one in plan.cells if one.cell.tuning]
    (folder / "T1.nii.gz").unlink()
    write_templates(folder, {"T1": 1 - volume}, (1.0, 1.0, 1.0))
    units = Units(plan, Store(tmp_path / "r"), tmp_path / "cache", lambda event: None)
    with pytest.raises(CaseError, match="planned with 'templates folder=.* files changed since"):
        units._tuning(planned)


def test_cells_with_templates_are_not_timed_by_those_without(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    example = json.loads(Path(__file__).with_name("example_record.json").read_bytes())
    machine = {**example["machine"], "device": device_name("cpu"), "precision": "32-true"}
    settings = {"finetune": {"crop": [*(plan.settings.finetune.crop or ())]}}
    cases = pd.DataFrame({"case": ["a"], "target": ["WT"], "status": ["ok"]})
    store = Store(tmp_path)
    found = {}
    for planned, took in zip(plan.cells, (1.0, 2.5), strict=True):
        cell = Cell(**{**planned.cell.model_dump(), "draw": 7})  # another than those planned
        cost = {**example["cost"], "steps": planned.steps, "wall_hours": took}
        words = {"machine": machine, "settings": settings, "cost": cost, "missing": []}
        data = {**example, **words, "cell": cell.model_dump(), "key": cell.key}
        record = Record.model_validate_json(json.dumps(data))
        store.write(record, cases, pd.DataFrame({"step": [1]}))
        found[cell.method] = hours(plan, store).cells
    assert found == {"scratch": None, "brainmvp": 3.5}
    again = plan_of(tmp_path, "missing_channels=each")
    assert hours(again, store).cells is None  # four more evaluations of each
