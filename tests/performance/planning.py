"""Planning 10,000 cells on a login node: under 3 s beyond imports, without MONAI or a GPU.

Four tasks of 200 cases in files, five methods, five numbers of shots, twenty draws, five seeds:
made once below the temporary folder, then planned into an empty results folder and into one that
holds all 10,000 records. Imports are those of a plan of fewer cells, made before. The digests of
files are known already, as they are after the first plan of a data set. Run by ``make speed``: a
JSON line for each, then words; exit code 1 where one is above the target.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import nibabel as nib
import numpy as np
import yaml

from medssl_bench import api
from medssl_bench.plan import Plan

TARGET_SECONDS = 3.0
TASKS, CASES, TESTS = 4, 200, 40
METHODS = "scratch,simmim,smit,dino,ibot"
SHOTS = "5,10,20,50,100"
DRAWS, SEEDS = 20, 5
CELLS = TASKS * 5 * 5 * DRAWS * SEEDS
FOLDER = Path(tempfile.gettempdir()) / f"bench-planning-{os.getuid()}"
EXAMPLE = Path(__file__).parents[1] / "example_record.json"


def write_tasks(folder: Path) -> list[Path]:
    """Write the tasks, unless they are there; returns their files."""
    files = [folder / f"task{number}" / "task.yaml" for number in range(TASKS)]
    random = np.random.default_rng(0)
    for number, file in enumerate(files):
        if file.exists():
            continue
        names = [f"case{case:03}" for case in range(CASES)]
        for name in names:
            label = np.zeros((32, 32, 32), np.uint8)
            label[8:20, 8:20, 8:20] = 1
            image = random.integers(-100, 100, label.shape, dtype=np.int16)
            for kind, array in (("images", image), ("labels", label)):
                (file.parent / kind).mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(array, np.eye(4)), file.parent / kind / f"{name}.nii.gz")
        values = {
            "name": f"cubes{number}", "images": "images", "labels": "labels",
            "split": {"test": names[:TESTS]}, "classes": ["cube"], "modality": "CT", "spacing": 1,
            "crop": 32,
        }  # fmt: skip
        file.write_text(yaml.safe_dump(values))
    return files


def write_records(plan: Plan, root: Path) -> None:
    """Record every cell of a plan that is not: an example under its key, with its checksum."""
    example = json.loads(EXAMPLE.read_bytes())
    root.mkdir(parents=True, exist_ok=True)
    (root / "store.json").write_text('{"format": 1}\n')
    for planned in plan.missing_cells:
        cell = planned.cell
        folder = root / "records" / cell.task / cell.slug
        folder.mkdir(parents=True)
        record = {**example, "cell": cell.model_dump(), "key": cell.key}
        text = (json.dumps(record, indent=1) + "\n").encode()
        (folder / "record.json").write_bytes(text)
        (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(text).hexdigest()}  record.json\n")


def plan_all(tasks: list[Path], results: Path, **fewer: int) -> tuple[Plan, float, float]:
    """Plan; returns the plan, wall seconds and the processor's seconds."""
    words = {"draws": DRAWS, "seeds": SEEDS, **fewer}
    began, worked = time.perf_counter(), time.process_time()
    plan, _, _ = api.make_plan(METHODS, tasks, SHOTS, profile="demo", results=results, **words)
    return plan, time.perf_counter() - began, time.process_time() - worked


def main() -> int:
    """Measure, print, and return the exit code."""
    FOLDER.mkdir(exist_ok=True)
    os.chdir(FOLDER)
    tasks = write_tasks(FOLDER)
    for results in ("empty", "full"):
        plan_all(tasks, FOLDER / results, draws=1, seeds=1)
    filling, _, _ = plan_all(tasks, FOLDER / "full")
    write_records(filling, FOLDER / "full")
    slow = False
    for results, recorded in (("empty", 0), ("full", CELLS)):
        plan, seconds, worked = plan_all(tasks, FOLDER / results)
        assert (len(plan.cells), len(plan.recorded)) == (CELLS, recorded)
        slow |= seconds > TARGET_SECONDS
        row = {
            "name": f"plan of {CELLS} cells, {recorded} recorded",
            "seconds": round(seconds, 2),
            "processor_seconds": round(worked, 2),
            "target_seconds": TARGET_SECONDS,
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(row))
        print(
            f"{CELLS} cells of {TASKS} tasks with {CASES} cases each, {recorded} recorded:"
            f" {seconds:.1f} s ({worked:.1f} s of the processor; target {TARGET_SECONDS:.0f} s)"
        )
    if found := [name for name in sys.modules if name.partition(".")[0] == "monai"]:
        print(f"planning imported {found[0]}", file=sys.stderr)
        return 1
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
