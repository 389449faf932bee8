"""Two runs of one cell with different numbers: both are kept, and both are shown.

The first lies where every record lies; the others in ``conflicts/<task>/<slug>/<seal>/``, where
``<seal>`` is the start of the SHA-256 of their SHA256SUMS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.record import Cell, Record, folder_name, headline

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "conflicts"
SEAL_LETTERS = 16


@dataclass(frozen=True)
class Version:
    """One run of a cell."""

    path: str
    """Of its ``record.json``, below the results folder."""
    record: Mapping[str, Any]
    """``record.json``."""
    cases: pd.DataFrame
    """Its case table, without the columns of the cell."""
    source: str = ""
    """``yours`` or ``published``, where several folders are read."""

    @property
    def number(self) -> int | float | None:
        """Mean Dice, or AUC of a classification."""
        return headline(self.record["metrics"])[1]


@dataclass(frozen=True)
class Conflict:
    """A cell of which there are runs with different numbers."""

    key: str
    cell: Mapping[str, Any]
    versions: tuple[Version, ...]
    """The first is the one in the tables."""

    def __str__(self) -> str:
        slug = Cell(**self.cell).slug
        name = headline(self.versions[0].record["metrics"])[0]
        told = "; ".join(
            f"{name} {'missing' if version.number is None else format(version.number, '.6f')}"
            f" ({version.source + ': ' if version.source else ''}{version.path})"
            for version in self.versions
        )
        return (
            f"{self.cell['task']} {slug}: {len(self.versions)} runs of one cell with different"
            f" numbers: {told}; the first is in the tables"
        )


def conflict_folder(root: Path, record: Record, seal: str) -> Path:
    """Return where a run lies whose cell has a record with other numbers."""
    return root / conflict_place(record, seal)


def conflict_place(record: Record, seal: str) -> str:
    """Return the same below the results folder."""
    cell = record.cell
    return f"{FOLDER}/{folder_name(cell.task)}/{cell.slug}/{seal[:SEAL_LETTERS]}"


def conflict_folders(root: Path) -> Iterator[Path]:
    """Yield the folders of all runs kept aside, in order of name."""
    yield from sorted(path.parent for path in (root / FOLDER).glob("*/*/*/record.json"))


def read_conflicts(root: Path) -> tuple[list[Conflict], list[str]]:
    """Return all conflicts of a results folder, and a line for each run that cannot be read."""
    from medssl_bench.records.entry import read_entry

    aside: dict[str, list[Version]] = {}
    left_out = []
    firsts: dict[str, Path] = {}
    cells: dict[str, Record] = {}
    for folder in conflict_folders(root):
        where = folder.relative_to(root).as_posix()
        entry, findings = read_entry(folder, where)
        if entry is None:
            left_out += [f"run kept aside skipped: {where}: {found.message}" for found in findings]
            continue
        record = entry.record
        cells[record.key] = record
        firsts[record.key] = root / "records" / folder_name(record.cell.task) / record.cell.slug
        aside.setdefault(record.key, []).append(_version(entry))
    conflicts = []
    for key, others in sorted(aside.items()):
        where = firsts[key].relative_to(root).as_posix()
        first, findings = read_entry(firsts[key], where)
        if first is None:
            left_out.append(f"{where}: no sound record beside {len(others)} runs kept aside")
        versions = ([_version(first)] if first else []) + others
        conflicts.append(Conflict(key, cells[key].cell.model_dump(), tuple(versions)))
    return conflicts, left_out


def _version(entry: Any, source: str = "") -> Version:
    return Version(
        f"{entry.where}/record.json", entry.record.model_dump(mode="json"), entry.cases, source
    )
