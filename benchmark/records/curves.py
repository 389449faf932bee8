"""Loss curves of pretrainings, which travel with records; the weights stay where they were made."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.durable import read_verified
from medssl_bench.errors import BenchError
from medssl_bench.record import folder_name
from medssl_bench.records.entry import read_bounded
from medssl_bench.records.layout import CURVES

if TYPE_CHECKING:
    import pandas as pd


def curves_of(root: Path, keys: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield key and parquet file of the history of each of these pretrainings that is there.

    Raises:
        BenchError: One is damaged.
    """
    for key in sorted(keys):
        pretraining, curve = (
            root / "pretraining" / folder_name(key),
            root / CURVES / f"{key}.parquet",
        )
        if pretraining.is_dir():
            yield key, read_verified(pretraining, "history.parquet")
        elif curve.is_file():
            yield key, curve.read_bytes()


def read_curves(root: Path, keys: Collection[str]) -> tuple[list[pd.DataFrame], list[str]]:
    """Return the merged curves of these pretrainings, each row with ``pretraining`` (the key).

    Also a line for each that is damaged.
    """
    tables, left_out = [], []
    for key in sorted(keys):
        path = root / CURVES / f"{key}.parquet"
        if path.is_file():
            try:
                frame: pd.DataFrame = read_bounded(path.read_bytes()).to_pandas()
                tables.append(frame.assign(pretraining=key))
            except BenchError as error:
                left_out.append(f"curve skipped: {path.name}: {error}")
    return tables, left_out
