"""What is looked at: one case of a record, with its scan, its reference and its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl_bench.data.labels import class_ids
from medssl_bench.data.orientation import to_ras
from medssl_bench.data.regrid import on_grid, ruling_source
from medssl_bench.data.volume import Volume
from medssl_bench.durable import read_verified
from medssl_bench.errors import BenchError, CaseError, DataError, did_you_mean
from medssl_bench.label_maps import FOLDER, file_name
from medssl_bench.record_folders import read_record
from medssl_bench.tables import read_table

if TYPE_CHECKING:
    from medssl_bench.record import Record
    from medssl_bench.task import Case, Task


@dataclass(frozen=True)
class Chosen:
    """A case on its native grid, axes R, A, S, in mm."""

    record: Record
    task: Task
    case: str
    channel: str
    """Which of the task's channels the scan is."""
    scan: Volume
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    rows: pd.DataFrame
    """The case's rows of the record: ``target, dice, hd95, status, ...``."""


def find_folder(root: Path, cell: str) -> Path:
    """Return the folder of a record, named by itself, by its slug, by its key or the key's start.

    Raises:
        BenchError: None is meant, or several are.
    """
    if (Path(cell) / "record.json").is_file():
        return Path(cell).resolve()
    folders = {path.parent.name: path.parent for path in root.glob("records/*/*/record.json")}
    if not folders:
        raise BenchError(f"no records in {root}: `bench run` makes some (--results)")
    if cell in folders:
        return folders[cell]
    start = cell.lower()[:12]
    found = [name for name in sorted(folders) if name.rpartition("_")[2].startswith(start)]
    if len(cell) > 12:  # a folder's name holds no more of the key
        found = [name for name in found if read_record(folders[name]).key.startswith(cell.lower())]
    if len(found) > 1 and cell:
        shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise BenchError(f"cell {cell!r}: {len(found)} keys begin so: {shown}; give more of one")
    if not found or not cell:
        raise BenchError(
            f"no cell {cell!r} in {root}.{_near(cell, folders)}"
            " `bench status --json` lists the keys"
        )
    return folders[found[0]]


def _near(cell: str, folders: Mapping[str, Path]) -> str:
    """Offer the names that hold what was asked for, or else the one that is spelled alike."""
    holding = sorted(name for name in folders if cell and cell in name)
    if not holding:
        return did_you_mean(cell, folders)
    return f" Did you mean {', '.join(holding[:3])}{', ...' if len(holding) > 3 else ''}?"


def choose(
    folder: Path,
    case: str | None,
    task: Task,
    data: Mapping[str, Path],
    channel: str | None = None,
) -> Chosen:
    """Read a case of a record: by default the one whose Dice is the median, and its first channel.

    Raises:
        BenchError: No predictions were kept, no such case or channel, no data, or data other than
            those that the record was measured on.
    """
    from medssl_bench.planned_data import data_folder
    from medssl_bench.stages.evaluate import read_prediction

    record = read_record(folder)
    table = read_table(folder, "cases.parquet").to_pandas()
    if task.classifies:
        raise BenchError(f"{task.name}: whole cases are classified; there is nothing to lay over")
    if channel is not None and channel not in task.channels:
        raise BenchError(
            f"{task.name}: no channel {channel!r}.{did_you_mean(channel, task.channels)} It has"
            f" {', '.join(task.channels)}"
        )
    if not (folder / FOLDER).is_dir():
        raise BenchError(
            f"{folder}: no predictions were kept; remove this folder and run the same command"
            " again with --keep-predictions, or run it into another --results"
        )
    name = case if case is not None else median_case(table)
    rows = table[table["case"] == name]
    if rows.empty:
        known = list(dict.fromkeys(table["case"]))
        raise BenchError(
            f"{folder}: no test case {name!r}.{did_you_mean(name, known)} It has"
            f" {', '.join(known[:4])}{', ...' if len(known) > 4 else ''}"
        )
    listed = {one.id: one for one in task.cases(data_folder(task.name, data))}
    if name not in listed:
        raise DataError(
            f"{task.name}: no case {name!r} in the data given; name the folder that the record was"
            f" made from with --data {task.name}=DIR"
        )
    path = folder / FOLDER / file_name(name)
    read_verified(folder, f"{FOLDER}/{path.name}")
    channel = channel or default_channel(task)
    scan, reference = _scan_and_reference(listed[name], task, channel)
    try:
        prediction = np.asarray(read_prediction(path, listed[name], task).array)
    except CaseError as error:
        raise BenchError(str(error)) from None
    _check_same(rows, reference, prediction, task, folder)
    return Chosen(record, task, name, channel, scan, reference, prediction, rows)


def median_case(table: pd.DataFrame) -> str:
    """Return the case whose Dice, averaged over the targets present, is the (lower) median."""
    present = table[table["status"].isin(["ok", "pred_empty"])]
    means = present.groupby("case")["dice"].mean().reset_index().sort_values(["dice", "case"])
    if means.empty:
        return str(table["case"].iloc[0])
    return str(means["case"].iloc[(len(means) - 1) // 2])


def default_channel(task: Task) -> str:
    """Return the channel on whose grid a case is measured."""
    return task.preprocessing.grid or task.channels[0]


def _scan_and_reference(case: Case, task: Task, channel: str) -> tuple[Volume, NDArray[np.uint8]]:
    """Return a channel and the label on the grid of the case, as RAS."""
    rule = task.preprocessing
    affine = ruling_source(case, rule, task.channels).header().affine
    scan = Volume(on_grid(case.images[channel].read(), case, channel, rule).array, affine)
    assert case.label is not None
    try:
        labels = class_ids(case.label.read().array, task.remap, task.classes)
    except DataError as error:
        raise DataError(f"{case.label}: {error}") from None
    if labels.shape != scan.array.shape:
        raise DataError(f"{case.id}: scan and label have different shapes")
    return to_ras(scan), np.asarray(to_ras(Volume(labels, scan.affine)).array)


def _check_same(
    rows: pd.DataFrame,
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    task: Task,
    folder: Path,
) -> None:
    """Refuse to show a reference that is not the one the record's numbers are of."""
    from medssl_bench.stages.evaluate import working_dice

    recorded: dict[str, float] = dict(zip(rows["target"], rows["dice"], strict=True))
    found = dict(zip(task.targets, working_dice(reference, prediction, task), strict=True))
    for target in [*task.targets, *recorded]:
        here, there = found.get(target, np.nan), recorded.get(target, np.nan)
        if not np.isclose(here, there, rtol=0, atol=1e-6, equal_nan=True):
            raise DataError(
                f"{folder}: Dice of {target} is {there:.4f} in the record and {here:.4f} with these"
                " data; labels or task have changed since, so the record cannot be shown on them"
            )


def view_path(folder: Path, case: str, channel: str | None = None) -> Path:
    """Return where the page of a record's case lies, unless told otherwise: beside the records.

    ``channel`` where it is another than the default one.
    """
    name = file_name(case).removesuffix(".nii.gz") + (f"_{channel}" if channel else "")
    return folder.parents[2] / "views" / folder.parent.name / folder.name / f"{name}.html"
