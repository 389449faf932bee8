"""The numbers of the page as files for other programs: CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medssl_bench.analysis.classification import METRICS
from medssl_bench.analysis.leaderboard.classification import NO_CLASS
from medssl_bench.analysis.leaderboard.leaks import UNCHECKED
from medssl_bench.analysis.leaderboard.plots import Plot
from medssl_bench.analysis.leaderboard.views import ONE_RUN, Value
from medssl_bench.analysis.tables import rows_of

SCHEMA_VERSION = 1


def write_tables(
    out: Path,
    board: pd.DataFrame,
    cases: pd.DataFrame,
    about: Mapping[str, Any],
    classes: pd.DataFrame,
    leaks: Mapping[tuple[str, str], Value],
) -> None:
    """Write ``leaderboard.csv``, ``leaderboard.json`` and ``cases.csv``; missing is empty or null.

    ``leaks`` says of (task, pretraining) how many test cases were found in the corpus; that many
    stand in a column of this name, missing where nobody looked.

    ``classes``, the leaderboard of classification tasks, becomes ``classification.csv`` and the
    JSON's ``classification``. Rows of the JSON carry ``missing``: the reason of each null.
    """
    board, classes = (_with_leaks(table, leaks) for table in (board, classes))
    board.to_csv(out / "leaderboard.csv", index=False)
    classes.to_csv(out / "classification.csv", index=False)
    cases.to_csv(out / "cases.csv", index=False)
    document = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "rows": [_row(row, ("dice", "hd95")) for row in rows_of(board)],
        "classification": [_row(row, METRICS) for row in rows_of(classes)],
    }
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    (out / "leaderboard.json").write_text(text + "\n", encoding="utf-8")


def _with_leaks(table: pd.DataFrame, leaks: Mapping[tuple[str, str], Value]) -> pd.DataFrame:
    found = [leaks[row["task"], row["pretraining"]].sort for row in rows_of(table)]
    return table.assign(leaks=pd.Series(found, index=table.index, dtype="Int64"))


def _row(row: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    plain = {
        str(name): None
        if value is pd.NA or (isinstance(value, float) and not math.isfinite(value))
        else value
        for name, value in row.items()
        if name != "gain_missing"
    }
    missing = {}
    for name in metrics:
        if plain[name] is None and metrics is METRICS:
            missing[name] = missing[f"{name}_sd"] = NO_CLASS
        elif plain[f"{name}_sd"] is None:
            missing[f"{name}_sd"] = ONE_RUN
    if plain["leaks"] is None:
        missing["leaks"] = UNCHECKED
    if row["gain_missing"]:
        missing["gain"] = row["gain_missing"]
    return {**plain, "missing": missing}


def write_figures(out: Path, plots: list[Plot]) -> None:
    """Write each figure to ``figures/<name>.svg``."""
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    for plot in plots:
        (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
