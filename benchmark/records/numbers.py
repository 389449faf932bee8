"""The numbers of a record: computed again from its case table, and compared with another's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medssl_bench.analysis import classification, metrics

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-9
"""Relative. Sums may differ in their last bits between processors; counts are equal or not."""

Metrics = Mapping[str, Mapping[str, int | float | None]]


def metrics_of(cases: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Aggregate the case table of one cell by target, and over all of them.

    Raises:
        ValueError: The table of a segmentation contradicts itself.
        BenchError: That of a classification does.
    """
    if bool(classification.is_classified(cases).any()):
        return classification.summarise(cases)
    summary = metrics.summarise(cases)
    return {**summary["targets"], "mean": summary["mean"]}


def metric_faults(recorded: Metrics, again: Metrics) -> Iterator[str]:
    """Yield a line for every metric that is not what the case table gives."""
    for target in sorted({*recorded, *again}):
        said, found = recorded.get(target, {}), again.get(target, {})
        for metric in sorted({*said, *found}):
            one, other = said.get(metric), found.get(metric)
            if not _equal(one, other):
                yield f"{target}.{metric} is {_text(one)}; its case table gives {_text(other)}"


def _equal(one: int | float | None, other: int | float | None) -> bool:
    if one is None or other is None:
        return one is other
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _text(value: int | float | None) -> str:
    return "missing" if value is None else repr(value)


@dataclass(frozen=True)
class Difference:
    """How the case tables of two runs of one cell differ."""

    rows: int
    """Rows (case, target) in only one of them, or with any other number."""
    largest: Mapping[str, float]
    """Column -> largest absolute difference; inf where only one has a finite number."""

    def __bool__(self) -> bool:
        return self.rows > 0

    def __str__(self) -> str:
        said = ", ".join(f"{name} by up to {value:.6g}" for name, value in self.largest.items())
        return f"{self.rows} rows differ" + (f" ({said})" if said else "")


def difference(one: pd.DataFrame, other: pd.DataFrame) -> Difference:
    """Compare two case tables, number by number; equal means to the last bit."""
    import numpy as np
    import pandas as pd

    rows = ["case", "target"]
    one, other = one.set_index(rows).sort_index(), other.set_index(rows).sort_index()
    shared = one.index.intersection(other.index)
    lone = len(one) + len(other) - 2 * len(shared)
    one, other = one.loc[shared], other.loc[shared]
    differs = np.zeros(len(shared), dtype=bool)
    largest: dict[str, float] = {}
    for name in sorted({*one.columns, *other.columns}):
        # A column of nothing says as much as none: tables of many cells have all their columns.
        if all(name not in table or table[name].isna().all() for table in (one, other)):
            continue
        if name not in one or name not in other:
            differs[:] = True
            largest[name] = math.inf
            continue
        first, second = one[name], other[name]
        if not (pd.api.types.is_numeric_dtype(first) and pd.api.types.is_numeric_dtype(second)):
            differs |= (first.astype(str) != second.astype(str)).to_numpy()
            continue
        a, b = first.to_numpy(np.float64), second.to_numpy(np.float64)
        unequal = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        differs |= unequal
        if unequal.any():
            with np.errstate(invalid="ignore"):
                distance = np.abs(a[unequal] - b[unequal])
            largest[name] = float(np.where(np.isnan(distance), math.inf, distance).max())
    return Difference(lone + int(differs.sum()), largest)
