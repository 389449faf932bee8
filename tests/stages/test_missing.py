"""Test cases without some of their channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medssl_bench.data.prepared import Prepared
from medssl_bench.methods.parts.template_tuning import TemplateTuning, TemplateTuningConfig
from medssl_bench.preparation import open_prepared
from medssl_bench.registry import load_plugin, tasks
from medssl_bench.stages.evaluate import Evaluation
from medssl_bench.stages.missing import Reduced, evaluate_missing, patterns

PLUGIN = Path(__file__).parents[1] / "plugins" / "small_brain.py"
CHANNELS = ("T1", "T1c", "T2", "FLAIR")
TEMPLATE = torch.rand((40, 42, 44), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    load_plugin(PLUGIN)
    task = tasks.load("brain_small")
    return open_prepared(task, task.cases(None)[:1], tmp_path_factory.mktemp("cache")).take(
        [task.cases(None)[0].id]
    )[0]


@pytest.fixture
def tuning() -> TemplateTuning:
    contrasts, spacing = ("", "T1c", "", ""), (6.0, 6.0, 6.0)
    templates = {"T1c": TEMPLATE}
    return TemplateTuning(TemplateTuningConfig(), contrasts, templates, spacing, (16, 16, 16))


def test_which_channels_are_missing_together() -> None:
    assert patterns(CHANNELS, "none") == []
    assert patterns(CHANNELS, "each") == [("T1",), ("T1c",), ("T2",), ("FLAIR",)]
    assert len(patterns(CHANNELS, "all")) == 2**4 - 2
    assert patterns(("CT",), "each") == patterns(("CT",), "all") == []


def test_missing_channels_are_zero_and_the_others_as_they_were(case: Prepared) -> None:
    reduced, whole = Reduced.of(case, ("T1", "T2"), None), case.image()
    assert whole[[0, 2]].any()
    assert not reduced.image()[[0, 2]].any()
    assert np.array_equal(reduced.image()[[1, 3]], whole[[1, 3]])
    start, size = (-3, 4, 2), (16, 16, 16)
    crop = reduced.image_crop(start, size)
    assert not crop[[0, 2]].any()
    assert np.array_equal(crop[[1, 3]], case.image_crop(start, size)[[1, 3]])
    assert np.array_equal(reduced.image_crop(start, size, 3), crop[3:])
    assert np.array_equal(reduced.label(), case.label())
    assert np.array_equal(case.image(), whole)


def test_a_template_stands_in_where_there_is_one(case: Prepared, tuning: TemplateTuning) -> None:
    reduced = Reduced.of(case, ("T1", "T1c"), tuning)
    assert reduced.filled == "zero+template"
    assert Reduced.of(case, ("T1c",), tuning).filled == "template"
    crop = reduced.image_crop((2, 3, 1), (8, 8, 8))
    at = [s + (n - m) // 2 for s, n, m in zip((2, 3, 1), TEMPLATE.shape, case.shape, strict=True)]
    part = TEMPLATE[at[0] : at[0] + 8, at[1] : at[1] + 8, at[2] : at[2] + 8]
    assert np.array_equal(crop[1], part.half().numpy())
    assert np.array_equal(reduced.image()[1, 2:10, 3:11, 1:9], crop[1])
    assert not crop[0].any()


def test_every_set_is_measured_and_named(case: Prepared, tuning: TemplateTuning) -> None:
    seen = []

    def measure(cases, words: str) -> Evaluation:
        seen.append(words)
        missing = [not one.image()[i].any() for one in cases for i in range(4)]
        rows = {"case": [one.id for one in cases], "target": "WT", "dice": float(sum(missing))}
        return Evaluation(pd.DataFrame(rows))

    found = evaluate_missing([case], CHANNELS, "each", tuning, measure)
    assert found is not None
    assert seen == [f"without {name}" for name in CHANNELS]
    assert found.patterns == CHANNELS
    assert found.table["without"].tolist() == list(CHANNELS)
    assert found.table["filled"].tolist() == ["zero", "template", "zero", "zero"]
    assert found.table["dice"].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert evaluate_missing([case], CHANNELS, "none", tuning, measure) is None
