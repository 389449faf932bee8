"""A task as a raw dataset of nnU-Net, with its draws as folds, for training nnU-Net by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl_bench.draws import Shots, check_split, draw_cases
from medssl_bench.durable import temporary_name, write_durably
from medssl_bench.errors import BenchError, DataError
from medssl_bench.parallel import in_processes, workers_for
from medssl_bench.progress import Emit, Event
from medssl_bench.validation import faulty_cases

if TYPE_CHECKING:
    from medssl_bench.task import Case, Task

ENDING = ".nii.gz"


def export_nnunet(
    task: Task,
    cases: Sequence[Case],
    out: Path,
    number: int,
    shots: str,
    draws: int,
    emit: Emit,
    plugins: Sequence[Path] = (),
) -> tuple[Path, dict[str, str]]:
    """Write ``DatasetNNN_TASK`` below ``out``; what is there already is kept.

    Returns the folder and what is wrong with each faulty case, by its id. All others are written,
    but where there is one, no ``dataset.json``: without it the draws would be others, and nnU-Net
    takes no dataset that lacks one.

    ``imagesTr`` and ``labelsTr`` hold the training pool, ``imagesTs`` and ``labelsTs`` the test
    cases, which nnU-Net never trains on. Labels are the task's class ids. Fold ``d`` of
    ``splits_final.json`` trains on the cases of draw ``d``; it validates on the other training
    cases, or where there are none on the same ones, since nnU-Net wants some.

    Raises:
        BenchError: A finished dataset is there already, or another one of this id; more shots than
            cases; a killed process.
    """
    if task.classifies:
        raise BenchError(
            f"{task.name} classifies whole volumes; nnU-Net segments, so there is nothing to export"
        )
    check_split(cases, task.name)
    folder = out / f"Dataset{number:03d}_{re.sub(r'[^A-Za-z0-9]+', '_', task.name)}"
    if (folder / "dataset.json").exists():
        raise BenchError(f"{folder} is there already; remove it or choose another --out or --id")
    others = sorted(path for path in out.glob(f"Dataset{number:03d}_*") if path != folder)
    if others:
        raise BenchError(
            f"{others[0]} has the id {number} already, and nnU-Net takes one dataset of an id;"
            " choose another --id"
        )
    folds = _folds(task, cases, shots, draws)
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    title, write = f"export {task.name}", partial(_fault_of, task=task, folder=folder)
    faults = faulty_cases(cases, task)
    sound = [case for case in cases if case.id not in faults]
    written = in_processes(write, sound, workers_for(len(sound)), plugins, title)
    for done, (case, fault) in enumerate(zip(sound, written, strict=True), start=1):
        if fault is not None:
            faults[case.id] = fault
        emit(Event(title, done, len(sound)))
    if faults:
        return folder, faults
    _write_json(folder / "splits_final.json", folds)
    # Last, so that an unfinished folder is known by its absence.
    _write_json(folder / "dataset.json", description(task, cases))
    return folder, {}


def description(task: Task, cases: Sequence[Case]) -> dict[str, Any]:
    """Return what nnU-Net wants to know of a dataset (its documentation/dataset_format.md).

    Regions become nnU-Net's where each adds one class to the ones inside it, as WT, TC and ET do;
    others are left to whoever measures, and nnU-Net trains on the classes.
    """
    labels: dict[str, Any] = {"background": 0}
    order = region_order(task)
    if order is None:
        labels |= {name: number for number, name in task.classes.items()}
    else:
        labels |= {name: list(task.regions[name]) for name in order}
    # Only "CT" makes nnU-Net normalise by the foreground of all cases.
    names = ["CT" if task.modality == "CT" else name for name in task.channels]
    found: dict[str, Any] = {
        "name": task.name,
        "channel_names": {str(place): name for place, name in enumerate(names)},
        "labels": labels,
        "numTraining": sum(1 for case in cases if case.pool == "train"),
        "file_ending": ENDING,
        "licence": task.licence,
        "converted_by": "medssl-bench",
    }
    if order is not None:
        found["regions_class_order"] = list(order.values())
    return found


def region_order(task: Task) -> dict[str, int] | None:
    """Return region -> the class it adds, from the outermost in; None where they are not nested."""
    names = sorted(task.regions, key=lambda name: -len(task.regions[name]))
    order: dict[str, int] = {}
    for place, name in enumerate(names):
        own = {*task.regions[name]}
        inner = {*task.regions[names[place + 1]]} if place + 1 < len(names) else set()
        added = own - inner
        if not inner <= own or len(added) != 1:
            return None
        order[name] = added.pop()
    return order if len(order) == len(task.classes) else None


def _folds(task: Task, cases: Sequence[Case], shots: str, draws: int) -> list[dict[str, list[str]]]:
    pool = [case.id for case in cases if case.pool == "train"]
    folds = []
    for draw in Shots.parse(shots).draws(draws):
        train = sorted(draw_cases(cases, shots, draw, task.name).train)
        rest = sorted({*pool} - {*train})
        folds.append({"train": train, "val": rest or train})
    return folds


def _fault_of(case: Case, task: Task, folder: Path) -> str | None:
    """Write a case; return what is wrong with it, if anything is."""
    try:
        write_case(case, task, folder)
    except DataError as error:
        return str(error)
    return None


def write_case(case: Case, task: Task, folder: Path) -> None:
    """Write a case's channels and label on its grid: the first channel's, or the one named."""
    from medssl_bench.data.labels import class_ids
    from medssl_bench.data.regrid import on_grid, ruling_source

    side = "Tr" if case.pool == "train" else "Ts"
    rule = task.preprocessing
    affine = ruling_source(case, rule, task.channels).header().affine
    for place, channel in enumerate(task.channels):
        path = folder / f"images{side}" / f"{case.id}_{place:04d}{ENDING}"
        if not path.exists():
            volume = on_grid(case.images[channel].read(), case, channel, rule)
            _write_volume(path, volume.array, affine)
    path = folder / f"labels{side}" / f"{case.id}{ENDING}"
    if case.label is not None and not path.exists():
        try:
            ids = class_ids(case.label.read().array, task.remap, task.classes)
        except DataError as error:
            raise DataError(f"{task.name}: {case.id}: {case.label}: {error}") from None
        _write_volume(path, ids, affine)


def _write_volume(path: Path, array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> None:
    import nibabel

    if array.dtype not in (np.uint8, np.int16, np.float32):
        whole = array.dtype.kind in "iub" and -(2**15) <= array.min() and array.max() < 2**15
        array = array.astype(np.int16 if whole else np.float32)
    unfinished = temporary_name(path).with_suffix(".nii.gz")
    nibabel.save(nibabel.Nifti1Image(array, affine), unfinished)
    unfinished.replace(path)


def _write_json(path: Path, values: Any) -> None:
    unfinished = temporary_name(path)
    write_durably(unfinished, (json.dumps(values, indent=1) + "\n").encode())
    unfinished.replace(path)
