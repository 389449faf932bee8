"""Whether a case table says everything that its record's test set and task ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medssl_bench.analysis import classification
from medssl_bench.analysis.metrics import STATUSES
from medssl_bench.records.finding import shown
from medssl_bench.tables import CELL_COLUMNS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from medssl_bench.record import Record

SHARES = ("dice", "nsd", "dice_working", "probability")
"""Columns whose numbers lie between 0 and 1."""
LENGTHS = ("hd95", "hd95_pooled", "diagonal_mm", "reference_ml", "prediction_ml")
"""Columns whose numbers are never negative."""


def targets_of(record: Record) -> tuple[str, ...]:
    """Return what the record's task measures: regions, or else classes; empty where unsaid."""
    task: Any = record.settings.get("task")
    if not isinstance(task, dict):
        return ()
    named = task.get("regions") or dict.fromkeys((task.get("classes") or {}).values())
    return tuple(map(str, named))


TEXTS = ("case", "target", "status")
OTHERS = {
    "history.parquet": ("step",),
    "similarity.parquet": ("layer_a", "layer_b", "cka"),
    "missing.parquet": ("without", "filled", "case", "target", "status"),
}


def column_faults(tables: Mapping[str, pa.Table]) -> Iterator[str]:
    """Yield a line for every column that is missing, of another type, or named as a cell's."""
    import pyarrow.types as types

    for name, table in tables.items():
        texts = TEXTS if name == "cases.parquet" else ()
        for column in (*texts, *OTHERS.get(name, ())):
            if column not in table.column_names:
                yield f"{name} has no column {column}"
        for column, field in zip(table.column_names, table.schema, strict=True):
            if column in CELL_COLUMNS or table.column_names.count(column) > 1:
                yield f"{name}: column {column} stands for something else or twice"
            elif column in texts:
                told = types.is_string(field.type) or types.is_large_string(field.type)
                if not told or table[column].null_count:
                    yield f"{name}: column {column} is not text in every row"
            elif texts and column in (*SHARES, *LENGTHS):
                if not (types.is_floating(field.type) or types.is_integer(field.type)):
                    yield f"{name}: column {column} is no number"


def row_faults(record: Record, cases: pd.DataFrame) -> Iterator[str]:
    """Yield a line for every way in which the table is not one row per (test case, target)."""
    targets = targets_of(record)
    if not targets:
        yield "settings.task says no classes, so nobody can tell which targets are missing"
        return
    found = set(zip(cases["case"], cases["target"], strict=True))
    wanted = {(case, target) for case in record.split.test for target in targets}
    if len(found) < len(cases):
        yield f"{len(cases) - len(found)} rows of cases.parquet stand twice"
    if missing := sorted(wanted - found, key=str):
        yield f"{len(missing)} of {len(wanted)} test cases x targets have no row: {_pairs(missing)}"
    if strange := sorted(found - wanted, key=str):
        yield f"{len(strange)} rows are of no test case or target: {_pairs(strange)}"
    yield from _value_faults(cases)


def _pairs(pairs: list[tuple[Any, Any]]) -> str:
    return shown(f"{case} {target}" for case, target in pairs)


def _value_faults(cases: pd.DataFrame) -> Iterator[str]:
    """Yield what no measurement can give."""
    import numpy as np

    known = {*STATUSES, classification.CLASSIFIED}
    if unknown := sorted({*cases["status"].astype(str)} - known):
        yield f"unknown status {unknown[0]!r}"
    for names, top in ((SHARES, 1.0), (LENGTHS, np.inf)):
        for name in names:
            if name not in cases:
                continue
            values = cases[name].to_numpy(np.float64)
            wrong = ~np.isnan(values) & ~((values >= 0) & (values <= top + 1e-9))
            if wrong.any():
                row = cases.iloc[int(wrong.argmax())]
                yield f"{name} of {row['case']} {row['target']} is {row[name]}"
    if {"dice", "reference_ml", "prediction_ml"} <= {*cases.columns}:
        yield from _status_faults(cases)


def _status_faults(cases: pd.DataFrame) -> Iterator[str]:
    """Yield rows whose status, volumes and Dice do not go together."""
    import numpy as np

    status = cases["status"].to_numpy(str)
    present, told = (cases[name].to_numpy(np.float64) > 0 for name in
                     ("reference_ml", "prediction_ml"))  # fmt: skip
    expected = np.select(
        [present & told, present, told], ["ok", "pred_empty", "ref_empty"], "both_empty"
    )
    dice = cases["dice"].to_numpy(np.float64)
    zero = (status == "pred_empty") | (status == "ref_empty")
    wrong = (status != classification.CLASSIFIED) & (
        (status != expected) | (zero & (dice != 0)) | ((status == "both_empty") & ~np.isnan(dice))
    )
    if wrong.any():
        row = cases.iloc[int(wrong.argmax())]
        yield (
            f"{int(wrong.sum())} rows contradict themselves: {row['case']} {row['target']} has"
            f" status {row['status']}, Dice {row['dice']}, reference {row['reference_ml']} ml,"
            f" prediction {row['prediction_ml']} ml"
        )
