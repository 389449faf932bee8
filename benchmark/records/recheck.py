"""Metrics measured again from predictions, before records are handed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.analysis import classification
from medssl_bench.errors import BenchError, DataError
from medssl_bench.predictions import Pair, Scoring, score
from medssl_bench.progress import Emit, Event
from medssl_bench.records.entry import Entry
from medssl_bench.records.finding import Finding, shown

if TYPE_CHECKING:
    import pandas as pd

TOLERANCES = {"dice": 1e-9, "hd95": 1e-5, "hd95_pooled": 1e-5, "nsd": 1e-3}
"""Column -> largest difference that is taken as none, relative for distances. These are measured in
single precision here, so a voxel whose distance equals the tolerance of NSD may change sides."""
ENDINGS = (".nii.gz", ".nii")


def parse_references(words: tuple[str, ...]) -> dict[str, Path]:
    """Read ``DIR`` and ``TASK=DIR``; the empty name is every task's.

    Raises:
        BenchError: A folder is not there.
    """
    found = {}
    for word in words:
        name, equals, folder = word.partition("=")
        if not equals or Path(word).is_dir():
            name, folder = "", word
        if not Path(folder).is_dir():
            raise BenchError(f"--references {word}: no such folder")
        found[name] = Path(folder)
    return found


def recheck(
    entries: list[Entry], predictions: Path, references: Mapping[str, Path], emit: Emit
) -> tuple[frozenset[str], list[Finding]]:
    """Measure every cell that has a folder of predictions, ``PREDICTIONS/<slug>/<case>.nii.gz``.

    Returns the keys of the cells measured with the same numbers, and what differs.

    Raises:
        BenchError: No folder of predictions belongs to any cell.
    """
    if not predictions.is_dir():
        raise BenchError(f"--predictions {predictions}: no such folder")
    chosen = [entry for entry in entries if (predictions / entry.record.cell.slug).is_dir()]
    if not chosen:
        raise BenchError(
            f"--predictions {predictions}: no folder of a cell in it, such as"
            f" {entries[0].record.cell.slug if entries else 'METHOD_shots-5_draw-0_seed-0_KEY'}"
        )
    findings = []
    well = set()
    for number, entry in enumerate(chosen, start=1):
        cell = entry.record.cell
        folder = references.get(cell.task, references.get(""))
        try:
            if folder is None:
                raise BenchError(f"no --references {cell.task}=DIR")
            faults = [*_faults(entry, predictions / cell.slug, folder)]
        except BenchError as error:
            faults = [str(error)]
        findings += [Finding(entry.where, "predictions", text) for text in faults]
        if not faults:
            well.add(entry.record.key)
        emit(Event("measure predictions", number, len(chosen), cell.slug))
    return frozenset(well), findings


def _faults(entry: Entry, folder: Path, references: Path) -> Iterator[str]:
    """Yield a line for every column that predictions do not give."""
    import numpy as np
    import pandas as pd

    if bool(classification.is_classified(entry.cases).any()):
        raise BenchError("a classification has no label maps to measure")
    pairs = [Pair(case, _file(folder, case), _file(references, case))
             for case in entry.record.split.test]  # fmt: skip
    settings: Any = entry.record.settings
    task = settings["task"]
    regions = task.get("regions") or {
        name: [int(number)] for number, name in task["classes"].items()
    }
    targets = {name: tuple(ids) for name, ids in regions.items()}
    scoring = Scoring(targets, settings["evaluate"]["nsd_tolerance_mm"])
    measured = pd.DataFrame([row for rows in score(pairs, scoring, 1) for row in rows])
    both = entry.cases.merge(measured, on=["case", "target"], suffixes=("", "_again"))
    if len(both) < len(entry.cases):
        yield f"{len(entry.cases) - len(both)} rows cannot be measured again"
    yield from _differing(both, "status", both["status"] != both["status_again"])
    for name, tolerance in TOLERANCES.items():
        if name in both:
            one, other = (both[column].to_numpy(float) for column in (name, f"{name}_again"))
            equal = np.isclose(
                one, other, rtol=tolerance * name.startswith("hd95"), atol=tolerance, equal_nan=True
            )
            yield from _differing(both, name, pd.Series(~equal))


def _differing(both: pd.DataFrame, name: str, wrong: pd.Series[bool]) -> Iterator[str]:
    rows = both[wrong.to_numpy()]
    if len(rows):
        told = (f"{row.case} {row.target} {getattr(row, name)} recorded,"
                f" {getattr(row, name + '_again')} measured"
                for row in rows.itertuples())  # fmt: skip
        yield f"{name} of {len(rows)} rows is not what the predictions give: {shown(told, 2)}"


def _file(folder: Path, case: str) -> Path:
    found = [folder / (case + ending) for ending in ENDINGS if (folder / (case + ending)).is_file()]
    if len(found) != 1:
        raise DataError(
            f"{folder}: {len(found) or 'no'} files for case {case}; expected {case}.nii.gz"
        )
    return found[0]
