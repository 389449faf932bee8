"""The case and history tables of many records as one, each row with the columns of its cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.durable import damaged, read_verified
from medssl_bench.record import Cell, Pretrained, Record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CELL_COLUMNS = (
    *(*Cell.model_fields, "key", "corpus", "corpus_size", "pretrain_crop"),
    *("profile", "pretrain_seed"),
)
"""Columns that every row gets from its cell and record."""


def cell_columns(record: Record) -> dict[str, Any]:
    """Return what a record's rows have in common."""
    return {
        **record.cell.model_dump(),
        "key": record.key,
        "corpus": record.corpus,
        **pretrained_columns(record.pretrained),
        "profile": record.profile,
        "pretrain_seed": record.pretrain_seed,
    }


def pretrained_columns(pretrained: Pretrained | None) -> dict[str, Any]:
    """Return scans of the corpus and voxels of a crop (``96x96x96``); None without pretraining."""
    return {
        "corpus_size": pretrained and pretrained.volumes,
        "pretrain_crop": pretrained and "x".join(map(str, pretrained.crop)),
    }


def check_columns(frame: pd.DataFrame, required: tuple[str, ...]) -> None:
    """Raise ValueError where a table lacks a column or has one that its cell will give it."""
    missing = [name for name in required if name not in frame.columns]
    taken = [name for name in CELL_COLUMNS if name in frame.columns]
    if missing or taken:
        raise ValueError(f"a table lacks the columns {missing} or repeats those of a cell {taken}")


def read_table(folder: Path, name: str, sums: frozenset[bytes] | None = None) -> pa.Table:
    """Read a table of a published folder; raises BenchError where it is damaged.

    ``sums``: see :func:`durable.read_verified`.
    """
    import pyarrow as pa
    import pyarrow.parquet

    source = pa.BufferReader(read_verified(folder, name, sums))
    try:
        return pa.parquet.ParquetFile(source).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(folder, f"{name}: {str(error).splitlines()[0]}") from None


@dataclass
class Stack:
    """Tables of one kind, and the cell columns of each."""

    tables: list[pa.Table] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    """Rows of each table that was added."""
    cells: list[dict[str, Any]] = field(default_factory=list)

    def add(self, table: pa.Table, cell: dict[str, Any]) -> None:
        """Put a table on top; ``cell`` is what its rows have in common."""
        self.tables.append(table.replace_schema_metadata(None))
        self.counts.append(table.num_rows)
        self.cells.append(cell)

    def settle(self) -> None:
        """Make one table of all, which is quick to hand on."""
        if self.tables:
            self.tables = [_stacked(self.tables).combine_chunks()]


def join(stacks: Sequence[Stack]) -> pd.DataFrame:
    """Return all tables as one and repeat each one's cell columns, in front, for its rows."""
    import numpy as np
    import pandas as pd

    tables = [table for stack in stacks for table in stack.tables]
    if not tables:
        return pd.DataFrame(columns=list(CELL_COLUMNS))
    stacked = _stacked(tables).to_pandas()
    counts = [count for stack in stacks for count in stack.counts]
    cells = [cell for stack in stacks for cell in stack.cells]
    rows = np.repeat(np.arange(len(counts)), counts)
    repeated = pd.DataFrame(cells, columns=list(CELL_COLUMNS)).iloc[rows].reset_index(drop=True)
    return pd.concat([repeated, stacked], axis=1)


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="permissive")
