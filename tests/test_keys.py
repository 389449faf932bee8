"""Keys of the demo: they change only with what decides a result, which raises a version."""

from __future__ import annotations

from pathlib import Path

import pytest

from medssl_bench.config import load_settings
from medssl_bench.errors import BenchError
from medssl_bench.keys import method_config
from medssl_bench.plan import Request, build_plan
from medssl_bench.store import Store
from medssl_bench.training import Compute

PRETRAININGS = {
    "contrastive": "356694ea81c73ca74d8f975d96dd7e1b9873639f8a6b8adae1de647a40dc148a",
    "simmim": "3a0767bde18974765298b21a7828261db89aa9a3404ec39f34eb3afcb0789e58",
    "smit": "5b04f282c97ee84c6909385a9bf159b445589550cbe2c9f0c4486946822f674b",
}
PROTOCOLS = {
    "phantom_ct": "6738a95f422105fa56b03c367670bb3c1fa0c8999a1f9a6bd88746e081ae9c9c",
    "phantom_mri": "5673fd8feb90b507f510ebf107fb0df481c04248e5260fe747914c722cb10eee",
    "phantom_fluid": "bc317c899901da75286fdba17377faa3d1c43de13061189ff92ee20dda2a417b",
}


def test_keys_of_the_demo_are_those_that_records_have(tmp_path: Path) -> None:
    """A change here lets every record of the demo be computed anew: was that meant?"""
    request = Request((*PRETRAININGS,), (*PROTOCOLS,), ("5",), load_settings("demo"))
    store = Store(tmp_path, read_only=True, missing_ok=True)
    plan = build_plan(request, Compute("cpu", "32-true", 1, 1), store)
    assert {job.method: key for key, job in plan.pretrainings.items()} == PRETRAININGS
    assert {planned.cell.task: planned.cell.protocol for planned in plan.cells} == PROTOCOLS


def test_a_name_within_a_group_of_settings_is_checked_too() -> None:
    with pytest.raises(BenchError, match="unknown setting 'methods.brainmvp.tuning.replace'.*tuni"):
        method_config("brainmvp", {"tuning": {"replace": 2}})
    assert method_config("brainmvp", {"tuning": {"replaced": 2}})["tuning"]["replaced"] == 2
