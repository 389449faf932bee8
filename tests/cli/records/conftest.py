"""A small results folder of real measurements: two methods, two draws, label maps on the disk."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from medssl_bench.analysis.metrics import case_metrics, definitions
from medssl_bench.digest import digest
from medssl_bench.draws import split_digest
from medssl_bench.record import (
    Cell,
    Cost,
    Digests,
    Draw,
    Leaks,
    Machine,
    Record,
    Split,
    utc_now,
)
from medssl_bench.records.numbers import metrics_of
from medssl_bench.stages.slices import overlay
from medssl_bench.store import Store

CLASSES = {1: "cube", 2: "rod"}
TESTS = ("t0", "t1", "t2")
TRAIN = ("a0", "a1", "a2", "a3")
KEYS = {"scratch": "none", "simmim": digest("simmim")}
SPACING = (1.0, 1.0, 2.0)


def reference(case: str) -> np.ndarray:
    """Return a cube and a rod; the last case has no rod."""
    labels = np.zeros((12, 11, 10), np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    if case != TESTS[-1]:
        labels[8:10, 3:5, 1:9] = 2
    return labels


def prediction(case: str, method: str, draw: int) -> np.ndarray:
    """Return the reference moved by the draw; scratch misses the rod."""
    labels = np.roll(reference(case), draw + (method == "scratch"), axis=1)
    return np.where((labels == 2) & (method == "scratch"), 0, labels).astype(np.uint8)


def measure(method: str, draw: int) -> pd.DataFrame:
    """Return the case table of one cell."""
    return pd.DataFrame(
        [
            {"case": case, **row}
            for case in TESTS
            for row in case_metrics(
                reference(case), prediction(case, method, draw), SPACING, CLASSES
            )
        ]
    )


def make_record(cases: pd.DataFrame, method: str, number: int, **changes: Any) -> Record:
    """Return the record that a run of these cases leaves."""
    cell = Cell(
        method=method, pretraining=KEYS[method], backbone="swin_tiny", task="cubes", shots="2",
        draw=number, seed=0, protocol=digest("protocol"),
    )  # fmt: skip
    cell = cell.model_copy(update=changes.pop("cell", {}))
    split = Split(digest=split_digest(TRAIN, TESTS), train=TRAIN, test=TESTS)
    trained = method != "scratch"
    fields: dict[str, Any] = {
        "cell": cell,
        "key": Cell(**cell.model_dump()).key,
        "profile": "demo",
        "corpus": "scans" if trained else None,
        "pretrain_seed": 0 if trained else None,
        "metrics": metrics_of(cases),
        "definitions": definitions(),
        "split": split,
        "draw": Draw(digest=digest(number), cases=TRAIN[number : number + 2], labelled_total=2),
        "digests": Digests(
            weights=digest([method, number]), split=split.digest,
            corpus=digest("scans") if trained else None,
        ),
        "leaks": Leaks(checked=True),
        "settings": {
            "draws": 2, "seeds": 1, "evaluate": {"nsd_tolerance_mm": 1.0},
            "task": {"name": "cubes", "classes": {str(n): name for n, name in CLASSES.items()}},
            "data_digest": digest("data"),
        },
        "versions": {"task": 1},
        "git": None,
        "libraries": {"torch": "2"},
        "machine": Machine(device="a CPU", threads=1, instruction_set="AVX2", precision="32-true"),
        "cost": Cost(
            wall_hours=0.1, device_hours=0, peak_memory_bytes=1, samples_per_second=1, steps=2,
            crops=4,
        ),
        "seeds": {"seed": 0},
        "started": utc_now(),
        "finished": utc_now(),
    }  # fmt: skip
    return Record(**{**fields, **changes})


HISTORY = pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]})


@dataclass(frozen=True)
class Maker:
    """Writes cells into a results folder."""

    root: Path

    def cell(
        self, method: str = "simmim", number: int = 0, *, table: pd.DataFrame | None = None,
        history: pd.DataFrame = HISTORY, **changes: Any,
    ) -> Path:  # fmt: skip
        """Record a cell, with changed fields or another case table; returns its folder."""
        cases = measure(method, number) if table is None else table
        if "metrics" not in changes:
            changes["metrics"] = metrics_of(cases)
        record = make_record(measure(method, number), method, number, **changes)
        store = Store(self.root)
        labels = reference("t0"), prediction("t0", method, number)
        picture = overlay({"CT": labels[0].astype(float)}, *labels, SPACING)
        label_map = nib.Nifti1Image(labels[1], np.diag([*SPACING, 1.0])).to_bytes()
        files = {"slices/t0.png": picture, "predictions/t0.nii.gz": gzip.compress(label_map)}
        assert store.write(record, cases, history, files)
        return store.folder(record.cell)

    def all(self) -> Path:
        """Record two methods on two draws, and a pretraining's curve."""
        for method in KEYS:
            for draw in range(2):
                self.cell(method, draw)
        Store(self.root).write_pretraining(
            KEYS["simmim"], {"method": "simmim"}, {"w": torch.zeros(1)}, HISTORY
        )
        return self.root


@pytest.fixture
def make() -> Callable[[Path], Maker]:
    """Give a maker of records for a folder."""
    return Maker


@pytest.fixture(scope="session")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Maker(tmp_path_factory.mktemp("whole") / "bench-results").all()


@pytest.fixture
def results(_whole: Path, tmp_path: Path) -> Path:
    """Return a results folder with nothing wrong, of the test's own."""
    return Path(shutil.copytree(_whole, tmp_path / "bench-results"))


@pytest.fixture
def label_maps(tmp_path: Path, results: Path) -> tuple[Path, Path]:
    """Write predictions of every cell and references, as ``bench submit`` reads them."""
    affine = np.diag([*SPACING, 1.0])
    folders = tmp_path / "predictions", tmp_path / "references"
    for case in TESTS:
        _save(folders[1] / f"{case}.nii.gz", reference(case), affine)
        for record in Store(results, read_only=True).records():
            cell = record.cell
            labels = prediction(case, cell.method, cell.draw)
            _save(folders[0] / cell.slug / f"{case}.nii.gz", labels, affine)
    return folders


def _save(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), path)


@pytest.fixture
def bundle(bench: Any, results: Path, tmp_path: Path) -> Path:
    """Return the bundle of ``results``."""
    assert bench("submit", "--results", results, "--out", tmp_path / "b.zip", "--plain").code == 0
    return tmp_path / "b.zip"
