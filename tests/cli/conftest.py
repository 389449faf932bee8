"""The ``bench`` command in this process, and tiny data sets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml

from medssl_bench.cli import main

SIDE = 32


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line of stderr; a traceback or a second line fails the test."""
        assert len(self.err.splitlines()) == 1, self.err
        return self.err.strip()


Bench = Callable[..., Outcome]


@pytest.fixture
def bench(monkeypatch, capsys, tmp_path) -> Bench:
    """Run ``bench WORDS...`` in an empty working folder, as its script does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)

    def call(*words: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call


def save_volume(path: Path, array: np.ndarray) -> None:
    """Write a NIfTI of 1 mm voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def save_case(folder: Path, name: str, seed: int = 0) -> None:
    """Write a noisy image with a bright cube, and the cube as label 1."""
    random = np.random.default_rng(seed)
    image = random.integers(-100, 0, (SIDE, SIDE, SIDE), dtype=np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[10:22, 10:22, 10:22] = 1
    image[label == 1] += 200
    save_volume(folder / "images" / f"{name}.nii.gz", image)
    save_volume(folder / "labels" / f"{name}.nii.gz", label)


def save_task(
    folder: Path, name: str = "cubes", train: int = 2, test: int = 1, **changes: Any
) -> Path:
    """Write a task of ``train`` + ``test`` cases ``a0, a1, ..., t0, ...``; return its task.yaml."""
    tests = [f"t{number}" for number in range(test)]
    for seed, case in enumerate([*(f"a{number}" for number in range(train)), *tests]):
        save_case(folder, case, seed)
    values = {
        "name": name,
        "images": "images",
        "labels": "labels",
        "split": {"test": tests},
        "classes": ["cube"],
        "modality": "CT",
        "spacing": 1,
        "crop": SIDE,
        **changes,
    }
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture
def write_volume() -> Callable[[Path, np.ndarray], None]:
    """:func:`save_volume`."""
    return save_volume


@pytest.fixture
def write_task() -> Callable[..., Path]:
    """:func:`save_task`."""
    return save_task


HOSTILE = "t0 <img src=x onerror=alert(1)> '\"&amp;"
"""A case's name that a page, a shell or a file system may trip over."""


@dataclass(frozen=True)
class Recorded:
    """A finished cell of two test cases, and the data it was made from."""

    root: Path
    task: Path
    folder: Path

    def words(self, *more: str | Path) -> tuple[str | Path, ...]:
        """The words of a ``bench view`` of this cell."""
        return ("view", self.folder, "--task", self.task, *more)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Train shortly on cubes high, right and in front, in files whose axes run L, I, P.

    The right is the patient's; the files' voxels are 1 x 2 x 1.5 mm.
    """
    root = tmp_path_factory.mktemp("recorded")
    affine = np.array([[-1, 0, 0, 30], [0, 0, -1.5, 40], [0, -2, 0, 60], [0, 0, 0, 1.0]])
    for seed, case in enumerate(("a0", "a1", HOSTILE, "t1")):
        random = np.random.default_rng(seed)
        image = random.integers(-100, 0, (44, 30, 36), dtype=np.int16)
        label = np.zeros(image.shape, np.uint8)
        label[6 + seed : 16 + seed, 4:10, 8:14] = 1
        label[30:36, 18:24, 22:30] = 2
        image[label == 1] += 200
        image[label == 2] += 120
        for kind, array in (("images", image), ("labels", label)):
            (root / kind).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), root / kind / f"{case}.nii.gz")
    values = {
        "name": "cubes", "images": "images", "labels": "labels", "split": {"test": [HOSTILE, "t1"]},
        "classes": ["cube", "second <b>"], "modality": "CT", "spacing": [1, 1.5, 2], "crop": 32,
    }  # fmt: skip
    task = root / "task.yaml"
    task.write_text(yaml.safe_dump(values))
    done = subprocess.run(
        [sys.executable, "-m", "medssl_bench", "run", "--plain", "--device", "cpu", "--profile",
         "demo", "--methods", "scratch", "--tasks", task, "--shots", "full", "--results", "results",
         "--set", "finetune.steps=40", "--set", "tracking=false", "--set", "similarity=false"],
        cwd=root, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = root.glob("results/records/*/*")
    return Recorded(root, task, folder)
