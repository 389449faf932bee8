"""Paper 003's ten tasks, pretrained by BrainMVP on brains of several contrasts, to records."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from medssl_bench.api import run
from medssl_bench.export import export_encoder
from medssl_bench.records.validate import validate
from medssl_bench.stages.slices import tiles
from medssl_bench.store import Store
from medssl_bench.tasks import load_task
from medssl_bench.viewer.chosen import choose

SEGMENTED = ("brats_ped", "brats_met", "isles22", "mrbrains13", "upenn_gbm", "vs")
CLASSIFIED = ("brats2018_cls", "adni", "adhd200", "abide1")
BACKBONES = dict.fromkeys(SEGMENTED, "uniformer_tiny") | dict.fromkeys(CLASSIFIED, "swin_tiny")
"""UniFormer attends to all of a map, which takes seconds at the size that cases are classified."""
SMALL = (
    "corpus_size=4", "pretrain.steps=6", "pretrain.batch=2", "finetune.steps=1",
    "finetune.batch=1", "finetune.crop=[40,40,40]", "evaluate.overlap=0", "example_slices=1",
    "similarity=false", "tracking=false",
)  # fmt: skip
"""Crops of 40 voxels are larger than a case of ISLES on its working grid."""


def silent(_: object) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder that the tasks share, and with it each backbone's one pretraining."""
    return tmp_path_factory.mktemp("results")


@pytest.mark.parametrize("name", BACKBONES)
def test_a_task_of_paper_003_is_recorded(name: str, root: Path, tmp_path: Path) -> None:
    """From what ``bench data synth`` writes to a sound record with every metric of the paper."""
    task = load_task(name)
    task.write_samples(tmp_path)
    done = run(
        "brainmvp", name, "full", corpus="phantom_brain", profile="demo", data=tmp_path,
        backbone=BACKBONES[name], results=root, assignments=SMALL, emit=silent,
    )  # fmt: skip
    assert done.ok
    store = Store(root)
    (record,) = [one for one in store.records() if one.cell.task == name]
    assert record.cell.method == "brainmvp" and record.corpus == "phantom_brain"
    told = record.settings["task"]
    assert isinstance(told, dict) and told["channels"] == [*task.channels]
    shared = [one for one in store.pretrainings() if one["backbone"] == record.cell.backbone]
    assert [one["key"] for one in shared] == [record.cell.pretraining]
    folder = store.folder(record.cell)
    rows = pd.read_parquet(folder / "cases.parquet")
    assert set(rows["case"]) == {*record.split.test} and set(rows["target"]) == {*task.targets}
    if task.classifies:
        whole = record.metrics["all"]
        assert whole["n"] == len(record.split.test)
        scores = [whole[metric] for metric in ("auc", "accuracy", "f1")]
        assert all(0 <= score <= 1 for score in scores)
    else:
        mean = record.metrics["mean"]
        assert mean["dice_n"] == mean["hd95_n"] == len(record.split.test)
        scores = [mean["dice_mean"]]
        assert 0 < mean["dice_mean"] < 1 and 0 < mean["hd95_mean"] < math.inf
        (picture,) = (folder / "slices").glob("*.png")
        assert len(tiles(Image.open(picture))) == len(task.channels) + 2
        for channel in task.channels:
            chosen = choose(folder, None, task, {"": tmp_path}, channel)
            assert chosen.channel == channel and chosen.scan.array.shape == chosen.reference.shape
    exported = export_encoder(record.cell.pretraining, "safetensors", tmp_path, root)
    shown = " | ".join(f"{score:.3f}" for score in scores)
    assert f"| {name} | full | 0 | 0 | {shown} | " in exported.card.read_text()
    _, findings = validate([root], silent)
    assert {one.check for one in findings if one.level == "error"} == {"leaks"}  # not audited
