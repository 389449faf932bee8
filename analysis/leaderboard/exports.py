"""The numbers of the page as files for other programs: CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medssl_bench.analysis.leaderboard.plots import Plot
from medssl_bench.analysis.leaderboard.views import ONE_RUN
from medssl_bench.analysis.tables import rows_of

SCHEMA_VERSION = 1


def write_tables(
    out: Path, board: pd.DataFrame, cases: pd.DataFrame, about: Mapping[str, Any]
) -> None:
    """Write ``leaderboard.csv``, ``leaderboard.json`` and ``cases.csv``; missing is empty or null.

    Rows of the JSON carry ``missing``: the reason of each value that is null.
    """
    board.to_csv(out / "leaderboard.csv", index=False)
    cases.to_csv(out / "cases.csv", index=False)
    rows = [_row(row) for row in rows_of(board)]
    document = {"schema_version": SCHEMA_VERSION, **about, "rows": rows}
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    (out / "leaderboard.json").write_text(text + "\n", encoding="utf-8")


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    plain = {
        str(name): None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
        if name != "gain_missing"
    }
    missing = {}
    for name in ("dice_sd", "hd95_sd"):
        if plain[name] is None:
            missing[name] = ONE_RUN
    if row["gain_missing"]:
        missing["gain"] = row["gain_missing"]
    return {**plain, "missing": missing}


def write_figures(out: Path, plots: list[Plot]) -> None:
    """Write each figure to ``figures/<name>.svg``."""
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    for plot in plots:
        (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
