"""The case and history tables of many records as one, each row with the columns of its cell."""

from __future__ import annotations

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


def read_table(folder: Path, name: str) -> pa.Table:
    """Read a table of a published folder; raises BenchError where it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet

    source = pa.BufferReader(read_verified(folder, name))
    try:
        return pa.parquet.ParquetFile(source).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(folder, f"{name}: {str(error).splitlines()[0]}") from None


def join(tables: list[pa.Table], cells: list[dict[str, Any]]) -> pd.DataFrame:
    """Stack tables and repeat each one's cell columns, in front, for its rows."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if not tables:
        return pd.DataFrame(columns=list(CELL_COLUMNS))
    stacked = pa.concat_tables(
        [table.replace_schema_metadata(None) for table in tables], promote_options="permissive"
    ).to_pandas()
    rows = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    repeated = pd.DataFrame(cells, columns=list(CELL_COLUMNS)).iloc[rows].reset_index(drop=True)
    return pd.concat([repeated, stacked], axis=1)
