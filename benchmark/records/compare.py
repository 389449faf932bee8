"""Two sets of records, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from medssl_bench.analysis.text import columns
from medssl_bench.errors import BenchError
from medssl_bench.progress import Emit
from medssl_bench.records.entry import Entry
from medssl_bench.records.finding import Finding, printable
from medssl_bench.records.numbers import difference
from medssl_bench.records.source import open_source, read_entries

State = Literal["equal", "repeated", "different", "only in A", "only in B"]


@dataclass(frozen=True)
class Pair:
    """One cell in two sets."""

    cell: dict[str, Any]
    slug: str
    state: State
    """``repeated``: two runs with the same numbers."""
    metric: str
    first: float | None
    second: float | None
    detail: str = ""

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            **self.cell, "state": self.state, "metric": self.metric.lower(), "a": self.first,
            "b": self.second, "detail": self.detail,
        }  # fmt: skip


def compare(first: Path, second: Path, emit: Emit) -> tuple[list[Pair], list[Finding]]:
    """Compare the cells of two folders or bundles; also returns what could not be read in either.

    Runs kept aside as conflicts are not compared.

    Raises:
        BenchError: One is not there, holds no results or is no sound bundle.
    """
    sides, findings = [], []
    for path in (first, second):
        if not path.exists():
            raise BenchError(f"{path}: no such file or folder")
        with open_source(path) as source:
            entries, faults = read_entries(source, emit)
        held: dict[str, Entry] = {}
        for entry in entries:
            held.setdefault(entry.record.key, entry)
        sides.append(held)
        findings += [
            replace(fault, where=f"{path}: {fault.where}")
            for fault in faults
            if fault.check in ("seal", "table", "records")
        ]
    a, b = sides
    pairs = [_pair(a.get(key), b.get(key)) for key in {**a, **b}]
    return sorted(pairs, key=lambda pair: (pair.cell["task"], pair.slug)), findings


def _pair(first: Entry | None, second: Entry | None) -> Pair:
    either = first or second
    assert either is not None
    cell = either.record.cell
    metric = either.headline[0]
    values = [entry.headline[1] if entry else None for entry in (first, second)]
    state: State
    detail = ""
    if first is None or second is None:
        state = "only in B" if first is None else "only in A"
    elif first.seal == second.seal:
        state = "equal"
    else:
        differs = difference(first.cases, second.cases)
        same = not differs and first.record.metrics == second.record.metrics
        state, detail = ("repeated", "") if same else ("different", str(differs))
    return Pair(cell.model_dump(), cell.slug, state, metric, values[0], values[1], detail)


def as_text(pairs: Sequence[Pair]) -> str:
    """Align the cells that are not equal, and count all."""
    states = get_args(State)
    counts = {state: sum(1 for pair in pairs if pair.state == state) for state in states}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    rows = [
        [
            printable(pair.cell["task"]), printable(pair.slug), pair.state, pair.metric,
            _number(pair.first), _number(pair.second), _change(pair), pair.detail,
        ]
        for pair in pairs
        if pair.state not in ("equal", "repeated")
    ]  # fmt: skip
    head = ["task", "cell", "state", "metric", "A", "B", "B - A", "rows"]
    return "\n".join([*([columns([head, *rows]), ""] if rows else []), f"{told or 'no cell'}"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _change(pair: Pair) -> str:
    if pair.first is None or pair.second is None:
        return "-"
    return f"{pair.second - pair.first:+.6f}"
