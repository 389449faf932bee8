"""Text in ``tables/*.csv`` that a spreadsheet would run is guarded; nothing else changes."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from medssl_bench.analysis.leaderboard.exports import guarded

RUN = ["=1+1", "+A1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a"]
KEPT = ["a=1", "-0.5", "+3", "12", "", " =1", "'=1", "smit", "5e-3"]


def read(table: pd.DataFrame) -> pd.DataFrame:
    buffer = io.BytesIO()
    csv.write_csv(guarded(pa.Table.from_pandas(table, preserve_index=False)), buffer)
    return pd.read_csv(io.BytesIO(buffer.getvalue()), dtype={"word": str}, keep_default_na=False)


def test_formulas_get_an_apostrophe_and_nothing_else_does() -> None:
    found = read(pd.DataFrame({"word": [*RUN, *KEPT]}))
    assert list(found["word"]) == [*(f"'{word}" for word in RUN), *KEPT]


def test_numbers_are_untouched() -> None:
    numbers = np.array([-1.5, 0.1 + 0.2, -1e-12, 1e300])
    found = read(pd.DataFrame({"word": ["=x"] * 4, "number": numbers, "count": [-1, 0, 1, 2]}))
    assert list(found["number"]) == list(numbers)
    assert list(found["count"]) == [-1, 0, 1, 2]
