"""The folders of published records: which there are, and what is in one or in thousands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medssl_bench.durable import damaged, read_sums, read_verified
from medssl_bench.errors import BenchError
from medssl_bench.record import Record, parse_record
from medssl_bench.tables import Stack, cell_columns, read_table

TABLES: Mapping[str, Callable[[Record], bool]] = {
    "cases": lambda record: True,
    "history": lambda record: True,
    "similarity": lambda record: record.similarity is not None,
    "attention": lambda record: (
        record.similarity is not None and record.similarity.attention_crops > 0
    ),
    "missing": lambda record: bool(record.missing),
}
"""The tables of a record, and which records hold them."""

MANY_FOLDERS = 2_000
"""Records from which reading them is worth several processes."""
CHUNK = 500
"""Records that a process reads at a time."""


@dataclass
class Part:
    """What was read of some folders: sound records, their tables by name, and what was not."""

    tables: dict[str, Stack]
    records: list[Record] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_folders(folders: Sequence[Path], names: Sequence[str]) -> list[Part]:
    """Read records and these tables; of many folders by one process a core, in the same order."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_all_start_methods, get_context

    workers = os.cpu_count() or 1
    if len(folders) < MANY_FOLDERS or workers < 2 or "fork" not in get_all_start_methods():
        return [read_part(folders, names)]
    chunks = [folders[at : at + CHUNK] for at in range(0, len(folders), CHUNK)]
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        return list(pool.map(read_part, chunks, [names] * len(chunks)))


def read_part(folders: Sequence[Path], names: Sequence[str]) -> Part:
    """Read the record and these tables of each folder; without its case rows it is none."""
    part = Part({name: Stack() for name in names})
    for folder in folders:
        try:
            sums = read_sums(folder)
            record = read_record(folder, sums)
        except BenchError as error:
            part.faults.append(f"record skipped: {error}")
            continue
        columns, sound = cell_columns(record), True
        for name in names:
            if not TABLES[name](record):
                continue
            try:
                part.tables[name].add(read_table(folder, f"{name}.parquet", sums), columns)
            except BenchError as error:
                part.faults.append(f"table skipped: {error}")
                sound = sound and name != "cases"
        if sound:
            part.records.append(record)
    for stack in part.tables.values():
        stack.settle()
    return part


def read_record(folder: Path, sums: frozenset[bytes] | None = None) -> Record:
    """Read the record of a published folder; raises BenchError where it is damaged.

    ``sums``: see :func:`durable.read_verified`.
    """
    record = parse_record(read_verified(folder, "record.json", sums), folder / "record.json")
    if record.cell.slug != folder.name:
        raise damaged(folder, f"it is the record of {record.cell.slug}")
    return record


def published_folders(root: Path, depth: int) -> Iterator[Path]:
    """Yield the published folders ``depth`` levels down, in name order."""
    for name in sorted(published_names(root)):
        if depth == 1:
            yield root / name
        else:
            yield from published_folders(root / name, depth - 1)


def published_names(root: Path) -> set[str]:
    """Return names of the folders in one that need not exist; hidden ones are temporary."""
    if not root.is_dir():
        return set()
    return {entry.name for entry in os.scandir(root) if entry.is_dir() and entry.name[0] != "."}
