"""The numbers of the page as files for other programs: CSV, JSON and Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

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
FORMULA = "^[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]"
NUMBER = r"^[+-]?[\d.]+$"
"""What the page's own export of CSV goes by, too."""


def table_writers(
    out: Path,
    board: pd.DataFrame,
    results: Results,
    about: Mapping[str, Any],
    classes: pd.DataFrame,
    standings: Mapping[Definition, Mapping[Key, Standing]],
) -> list[Callable[[], None]]:
    """Return what writes the folder ``tables``; missing is empty or null, text is :func:`guarded`.

    As CSV and Parquet: ``leaderboard`` and ``classification`` (one row a row of the page),
    ``standings`` (mean, interval and rank under every definition), ``cells`` (one row a record) and
    ``cases`` (one row a cell, case and target). ``leaderboard.json`` has both leaderboards, whose
    rows carry ``missing``: the reason of each null.
    """
    folder = out / "tables"
    folder.mkdir(exist_ok=True)
    found = leak_counts(results.records)
    board, classes = (_with_leaks(table, found) for table in (board, classes))
    return [
        partial(_write_table, folder / "cases", lambda: results.cases),
        partial(_write_table, folder / "cells", lambda: cell_table(results)),
        partial(_write_table, folder / "leaderboard", lambda: board),
        partial(_write_table, folder / "classification", lambda: classes),
        partial(_write_table, folder / "standings", lambda: standing_table(standings)),
        partial(_write_document, folder / "leaderboard.json", about, board, classes),
    ]


def _write_table(path: Path, table: Callable[[], pd.DataFrame]) -> None:
    columns = pa.Table.from_pandas(table(), preserve_index=False)
    csv.write_csv(guarded(columns), path.with_suffix(".csv"))
    parquet.write_table(columns, path.with_suffix(".parquet"))


def _write_document(
    path: Path, about: Mapping[str, Any], board: pd.DataFrame, classes: pd.DataFrame
) -> None:
    document = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "rows": [_row(row, ("dice", "hd95")) for row in rows_of(board)],
        "classification": [_row(row, METRICS) for row in rows_of(classes)],
    }
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def guarded(table: pa.Table) -> pa.Table:
    """Return the table with an apostrophe before each text that a spreadsheet would run.

    Those start as a formula does (OWASP, CSV injection) and are no number. Numbers are untouched.
    """
    for place, name in enumerate(table.column_names):
        column = table[name]
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        if pc.any(_runs(column.unique())).as_py():
            mark, nothing = (pa.scalar(word, column.type) for word in ("'", ""))
            safe = pc.binary_join_element_wise(mark, column, nothing)
            table = table.set_column(place, name, pc.if_else(_runs(column), safe, column))
    return table


def _runs(words: pa.ChunkedArray) -> pa.ChunkedArray:
    formula = pc.match_substring_regex(words, FORMULA)
    return pc.and_not(formula, pc.match_substring_regex(words, NUMBER))


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
