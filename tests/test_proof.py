"""The proof's comparison: which cells count, and that differences are paired."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl_bench.digest import digest
from medssl_bench.proof import Comparison, compare, holds
from medssl_bench.record import Cell, Record
from medssl_bench.store import Store

EXAMPLE = Path(__file__).with_name("example_record.json")


def write(store: Store, method: str, draw: int, rate: float, dice: list[float], run: str) -> str:
    """Publish a cell of the settings ``run`` whose cases have these Dice; returns its key."""
    data: dict[str, Any] = json.loads(EXAMPLE.read_bytes())
    trained = method != "scratch"
    data["cell"] |= {
        "method": method,
        "pretraining": digest([method, run]) if trained else "none",
        "task": "phantom_ct",
        "shots": "5",
        "draw": draw,
        "protocol": digest([rate, run]),
    }
    data["key"] = Cell(**data["cell"]).key
    data |= {"corpus": "phantom_ct" if trained else None, "settings": {"finetune": {"lr": rate}}}
    data |= {"pretrain_seed": 0 if trained else None}
    data |= {"pretrained": data["pretrained"] if trained else None}
    cases = pd.DataFrame(
        {
            "case": [f"test-{number}" for number in range(len(dice))],
            "target": "liver",
            "dice": dice,
            "hd95": 1.0,
            "status": "ok",
            "diagonal_mm": 100.0,
        }
    )
    history = pd.DataFrame({"step": [1], "loss": [1.0]})
    store.write(Record.model_validate_json(json.dumps(data)), cases, history)
    return str(data["key"])


def test_cells_of_other_settings_in_the_folder_do_not_enter_the_means(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = {
        write(store, "scratch", 0, 1e-3, [0.1, 0.2], "asked"),
        write(store, "scratch", 0, 3e-3, [0.3, 0.5], "asked"),
        write(store, "simmim", 0, 3e-3, [0.6, 0.7], "asked"),
    }
    write(store, "scratch", 0, 3e-3, [0.9, 0.9], "earlier, with more steps")
    write(store, "simmim", 0, 3e-3, [0.0, 0.0], "earlier, with fewer steps")
    write(store, "simmim", 1, 3e-3, [0.0, 0.0], "asked")
    (found,) = compare(tmp_path, ["phantom_ct"], "5", keys)
    assert (found.name, found.against) == ("simmim on phantom_ct", "scratch at 0.003")
    assert found.dice == pytest.approx(0.65)
    assert found.dice_against == pytest.approx(0.4)
    assert found.difference == pytest.approx(0.25)
    assert (found.draws, found.cases) == (1, 2)
    assert found.low == pytest.approx(0.25 - 12.7062 * 0.05, abs=1e-4)
    assert found.high == pytest.approx(0.25 + 12.7062 * 0.05, abs=1e-4)


def row(name: str, low: float) -> Comparison:
    return Comparison("phantom_ct", name, "scratch", 0.5, 0.4, 0.1, low, low + 0.1, 5, 24)


def test_nothing_compared_shows_nothing() -> None:
    good, control = row("simmim on phantom_ct", 0.02), row("simmim on noise", -0.05)
    assert holds([good, control])
    assert not holds([])
    assert not holds([good])
    assert not holds([control])
    assert not holds([good, row("smit on phantom_ct", -0.01), control])
    assert not holds([good, row("simmim on noise", 0.01)])
