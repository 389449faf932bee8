"""The numbers of the page as files for other programs: CSV, JSON and Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from medssl_bench.analysis.classification import METRICS
from medssl_bench.analysis.leaderboard.classification import NO_CLASS
from medssl_bench.analysis.leaderboard.leaks import UNCHECKED, leak_counts
from medssl_bench.analysis.leaderboard.plots import Plot
from medssl_bench.analysis.leaderboard.repeat import command
from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.leaderboard.standings import Definition, Key, Standing
from medssl_bench.analysis.leaderboard.views import ONE_RUN
from medssl_bench.analysis.tables import ROW, rows_of

SCHEMA_VERSION = 2


def write_tables(
    out: Path,
    board: pd.DataFrame,
    results: Results,
    about: Mapping[str, Any],
    classes: pd.DataFrame,
    standings: Mapping[Definition, Mapping[Key, Standing]],
) -> None:
    """Write the folder ``tables``; missing is empty or null.

    As CSV and Parquet: ``leaderboard`` and ``classification`` (one row a row of the page),
    ``standings`` (mean, interval and rank under every definition), ``cells`` (one row a record) and
    ``cases`` (one row a cell, case and target). ``leaderboard.json`` has both leaderboards, whose
    rows carry ``missing``: the reason of each null.
    """
    folder = out / "tables"
    folder.mkdir(exist_ok=True)
    found = leak_counts(results.records)
    board, classes = (_with_leaks(table, found) for table in (board, classes))
    for name, table in {
        "leaderboard": board,
        "classification": classes,
        "standings": standing_table(standings),
        "cells": cell_table(results),
        "cases": results.cases,
    }.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        table.to_parquet(folder / f"{name}.parquet", index=False)
    document = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "rows": [_row(row, ("dice", "hd95")) for row in rows_of(board)],
        "classification": [_row(row, METRICS) for row in rows_of(classes)],
    }
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "leaderboard.json").write_text(text + "\n", encoding="utf-8")


def standing_table(standings: Mapping[Definition, Mapping[Key, Standing]]) -> pd.DataFrame:
    """Return one row a definition and row of the leaderboard."""
    return pd.DataFrame(
        [
            {
                **dict(zip(ROW, key, strict=True)),
                "metric": definition.metric,
                "empty_targets": definition.empty,
                **asdict(standing),
            }
            for definition, found in standings.items()
            for key, standing in found.items()
        ],
        columns=[*ROW, "metric", "empty_targets", *Standing.__dataclass_fields__],
    )


def cell_table(results: Results) -> pd.DataFrame:
    """Return one row a record: where its numbers come from."""
    return pd.DataFrame(
        [
            {
                **record["cell"],
                "key": record["key"],
                "corpus": record["corpus"],
                "profile": record["profile"],
                "labelled_cases": record["draw"]["labelled_total"],
                "leaks_checked": record["leaks"]["checked"],
                "leaks_found": len(record["leaks"]["found"]),
                "weights_sha256": record["digests"]["weights"],
                "split_sha256": record["split"]["digest"],
                "draw_sha256": record["draw"]["digest"],
                "git_sha": record["git"] and record["git"]["sha"],
                "git_dirty": record["git"] and record["git"]["dirty"],
                "device": record["machine"]["device"],
                "precision": record["machine"]["precision"],
                "threads": record["machine"]["threads"],
                "wall_hours": record["cost"]["wall_hours"],
                "finished": record["finished"],
                "record": results.paths.get(record["key"], ""),
                "command": command(record),
            }
            for record in results.records
        ]
    )


def _with_leaks(table: pd.DataFrame, found: Mapping[tuple[str, str], int | None]) -> pd.DataFrame:
    counts = [
        found.get((str(task), str(key)))
        for task, key in zip(table["task"], table["pretraining"], strict=True)
    ]
    return table.assign(leaks=pd.array(counts, dtype="Int64"))


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


def write_figures(out: Path, plots: Sequence[Plot]) -> None:
    """Write each figure to ``figures/<name>.svg``."""
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    for plot in plots:
        (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
