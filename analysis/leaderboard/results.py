"""What the report reads from a results folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from medssl_bench.analysis.classification import is_classified
from medssl_bench.analysis.leaderboard.forks import MANY_ROWS, without_collector
from medssl_bench.audit.exposure import audited_later, read_verdicts
from medssl_bench.audit.verdicts import Verdict
from medssl_bench.errors import BenchError
from medssl_bench.label_maps import FOLDER as PREDICTIONS
from medssl_bench.label_maps import file_name
from medssl_bench.record import Record
from medssl_bench.records.conflicts import Conflict, read_conflicts
from medssl_bench.records.curves import read_curves
from medssl_bench.store import Store

SLICES = "slices"
"""Folder of a record with pictures of test cases."""
ONLY = ("probability", "predicted", "true")
"""Columns that only classification has."""


@dataclass(frozen=True)
class Slice:
    """A picture of a test case with reference and prediction drawn over the image."""

    key: str
    """The cell's key."""
    case: str
    path: Path

    @property
    def png(self) -> bytes:
        """Read the picture."""
        return self.path.read_bytes()


@dataclass(frozen=True)
class Results:
    """Everything the page shows; all of it comes from records of finished cells."""

    cases: pd.DataFrame
    """One row per (cell, case, target)."""
    records: Sequence[Mapping[str, Any]]
    """``record.json`` of each cell."""
    histories: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Fine-tuning: one row per point, with the cell's columns, ``step`` and ``loss``."""
    pretraining: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Pretraining: one row per point, with ``pretraining`` (key), ``step`` and ``loss``."""
    similarity: pd.DataFrame = field(default_factory=pd.DataFrame)
    """CKA before against after fine-tuning: one row per cell and pair of layers."""
    attention: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Where heads look: one row per cell, encoder (before, after), layer and head."""
    missing: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The same networks without some channels: rows as in ``cases``, with ``without``."""
    pretraining_hours: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each pretraining, by its key."""
    pictures: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Key of a pretraining to pictures of what was learned, ``<name>_<step>.png``."""
    slices: Sequence[Slice] = ()
    predictions: frozenset[str] = frozenset()
    """Keys of the cells whose label maps were kept, which ``bench view`` needs."""
    viewers: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Key of a cell to what ``bench view`` wrote of its cases."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Cell key -> path of its record below the results folder."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Cell key -> ``yours`` or ``published``, where several folders are read."""
    conflicts: Sequence[Conflict] = ()
    """Cells with runs of different numbers; the first of each is the one in ``cases``."""

    def __post_init__(self) -> None:
        if not self.records or self.cases.empty:
            raise BenchError("nothing to report: no finished cell; `bench run` makes some")

    @property
    def large(self) -> bool:
        """Whether work is shared by processes, and ``bench analyze`` draws its figures alone."""
        return len(self.cases) >= MANY_ROWS

    @cached_property
    def segmented(self) -> pd.DataFrame:
        """Rows of ``cases`` of segmentation tasks, without the columns of the others."""
        others = is_classified(self.cases)
        rows = self.cases[~others] if others.any() else self.cases
        return rows.drop(columns=[*ONLY], errors="ignore")

    @property
    def classified(self) -> pd.DataFrame:
        """Rows of ``cases`` of classification tasks."""
        return self.cases[is_classified(self.cases)]


def numbers_of(histories: pd.DataFrame, prefix: str) -> list[str]:
    """Return the columns of this prefix that hold any number."""
    return [
        str(name)
        for name in histories.columns
        if str(name).startswith(prefix) and pd.to_numeric(histories[name], "coerce").notna().any()
    ]


def read_slices(records: Iterable[Record], folders: Mapping[str, Path]) -> list[Slice]:
    """Find the pictures of each cell in its record's folder; the split says whose they are.

    ``folders`` are those that have any. Records from before names were made safe have
    ``slices/<case>.png``.
    """
    found = []
    for record in records:
        if record.key in folders:
            cases = {file_name(case, ".png"): case for case in record.split.test}
            for path in sorted((folders[record.key] / SLICES).glob("*.png")):
                found.append(Slice(record.key, cases.get(path.name, path.stem), path))
    return found


def find_viewers(root: Path, folders: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Return what ``bench view`` wrote of cases, by the key of their cell."""
    keys = {folder: key for key, folder in folders.items()}
    found: dict[str, list[Path]] = {}
    for path in sorted((root / "views").glob("*/*/*.html")):
        if key := keys.get(root / "records" / path.parent.relative_to(root / "views")):
            found.setdefault(key, []).append(path)
    return found


@without_collector()
def read_results(root: Path) -> tuple[Results, list[str]]:
    """Read a results folder; also returns what had to be left out, one line each.

    Raises BenchError where there is no results folder, or no finished cell in it.
    """
    store = Store(root, read_only=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records, tables = store.read_all()
        known = {info["key"]: info for info in store.pretrainings()}
        used = {record.cell.pretraining for record in records}
        curves = [
            store.read_pretraining_history(key).assign(pretraining=key)
            for key in sorted(known.keys() & used)
        ]
    left_out = list(dict.fromkeys(str(warning.message) for warning in caught))
    merged, lines = read_curves(root, used - known.keys())
    curves += merged
    conflicts, unread = read_conflicts(root)
    left_out += [*lines, *unread, *map(str, conflicts)]
    if not records and left_out:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise BenchError(f"nothing to report: {left_out[0]}{more}")
    folders = {record.key: store.folder(record.cell) for record in records}
    held = {key: {entry.name for entry in os.scandir(one)} for key, one in folders.items()}
    verdicts = read_verdicts(root)
    results = Results(
        cases=tables["cases"],
        records=[_with_audits(verdicts, record.model_dump(mode="json")) for record in records],
        histories=tables["history"],
        pretraining=pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(),
        similarity=tables["similarity"],
        attention=tables["attention"],
        missing=tables["missing"],
        pretraining_hours={
            key: float(info["cost"]["wall_hours"]) for key, info in known.items() if "cost" in info
        },
        pictures={
            key: sorted(store.pretraining_folder(key).glob("pictures/*_*.png"))
            for key in sorted(known.keys() & used)
        },
        slices=read_slices(records, {key: folders[key] for key in held if SLICES in held[key]}),
        predictions=frozenset(key for key in held if PREDICTIONS in held[key]),
        viewers=find_viewers(root, folders),
        paths={
            key: f"{folder.relative_to(root).as_posix()}/record.json"
            for key, folder in folders.items()
        },
        conflicts=conflicts,
    )
    return results, left_out


def _with_audits(verdicts: Sequence[Verdict], record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with what audits of the folder found since it was written."""
    return {**record, "leaks": audited_later(verdicts, record)}
