"""Faults of voxels come out in preparation, are named, and stop only what needs the case."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from medssl_bench import load_results
from medssl_bench.draws import draw_cases
from medssl_bench.task import Case

QUICK = (
    "--profile", "demo", "--set", "finetune.steps=2", "--set", "finetune.crop=null",
    "--set", "tracking=false", "--set", "example_slices=0", "--device", "cpu",
)  # fmt: skip


def truncate(case: str, folder: Path) -> Path:
    """Cut an image in the middle of its voxels; its header can still be read."""
    path = folder / "images" / f"{case}.nii.gz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def add_unknown_ids(case: str, folder: Path) -> Path:
    """Label a voxel as class 7 of 1."""
    path = folder / "labels" / f"{case}.nii.gz"
    label = np.asarray(nib.load(path).dataobj).copy()
    label[3, 3, 3] = 7
    nib.save(nib.Nifti1Image(label, np.eye(4)), path)
    return path


def add_nan(case: str, folder: Path) -> Path:
    """Put NaN into an image."""
    path = folder / "images" / f"{case}.nii.gz"
    image = np.asarray(nib.load(path).dataobj).astype(np.float32)
    image[5, 5, 5] = np.nan
    nib.save(nib.Nifti1Image(image, np.eye(4)), path)
    return path


def not_drawn(task: str) -> str:
    """Return the training case of two that draw 0 of one shot leaves out."""
    ids = ["a0", "a1"]
    (drawn,) = draw_cases([Case(name, {}) for name in ids], "1", 0, task).train
    return next(name for name in ids if name != drawn)


def test_only_cells_that_need_a_faulty_case_stop(bench, write_task):
    faults = {"cut": truncate, "ids": add_unknown_ids, "nan": add_nan}
    tasks, broken = [], {}
    for name, spoil in faults.items():
        tasks.append(str(write_task(Path(name), name=name)))
        broken[name] = spoil(not_drawn(name), Path(name))
    command = ("run", "--methods", "scratch", "--tasks", ",".join(tasks), "--draws", "1", *QUICK)

    outcome = bench(*command, "--shots", "1,full", "--json")

    assert outcome.code == 1, outcome
    document = json.loads(outcome.out)
    told = {failure["unit"].split()[1]: failure["reason"] for failure in document["failures"]}
    assert sorted(told) == sorted(faults)
    for name, path in broken.items():
        assert str(path) in told[name]
    assert "7" in told["ids"] and "nan" in told["nan"].lower()
    assert all("1 shots" not in failure["unit"] for failure in document["failures"])
    assert {cell["shots"] for cell in document["cells"] if cell["recorded"]} == {"1"}
    recorded = load_results("bench-results")
    assert sorted(set(zip(recorded.task, recorded.shots, strict=True))) == [
        ("cut", "1"), ("ids", "1"), ("nan", "1"),
    ]  # fmt: skip

    # Nothing was lost: with the case repaired, the same command runs what is missing only.
    write_task(Path("nan"), name="nan")
    again = bench(*command, "--shots", "1,full", "--json")
    assert again.code == 1
    cells = {(c["task"], c["shots"]): c["recorded"] for c in json.loads(again.out)["cells"]}
    assert cells["cut", "1"] and cells["nan", "full"] and not cells["cut", "full"]
    assert {f["unit"].split()[1] for f in json.loads(again.out)["failures"]} == {"cut", "ids"}


def test_a_faulty_test_case_stops_every_cell_of_its_task(bench, write_task):
    path = write_task(Path("nan"), name="nan")
    spoilt = add_nan("t0", Path("nan"))
    outcome = bench("run", "--methods", "scratch", "--tasks", path, "--shots", "1,full",
                    "--draws", "2", *QUICK)  # fmt: skip
    assert outcome.code == 1
    failed = [line for line in outcome.err.splitlines() if line.startswith("failed [data]: ")]
    assert len(failed) == 3  # two draws of one shot, one of full
    assert all(str(spoilt) in line for line in failed)
    assert "0 of 3 cells are recorded" in outcome.out
