"""Test cases that were in a pretraining corpus: marked in the table, listed above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medssl_bench.analysis.leaderboard.views import Value

UNCHECKED = "nobody looked; bench data audit does"


def leak_values(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Value]:
    """Return what to show for each (task, pretraining): the most test cases found, of how many.

    Where any of its records was not checked and none has a leak, it is missing.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["cell"]["task"], record["cell"]["pretraining"]), []).append(
            record
        )
    return {key: _value(group) for key, group in groups.items()}


def leak_counts(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], int | None]:
    """Return how many test cases were in the corpus of each (task, pretraining); None: unknown."""
    values = leak_values(records)
    return {
        key: int(value.sort) if isinstance(value.sort, (int, float)) else None
        for key, value in values.items()
    }


def _value(records: Sequence[Mapping[str, Any]]) -> Value:
    worst = max(records, key=lambda record: len(record["leaks"]["found"]))
    count, tested = len(worst["leaks"]["found"]), len(worst["split"]["test"])
    if count:
        return Value(f"\u26a0 {count} of {tested}", count, note="test cases in its corpus")
    if not all(record["leaks"]["checked"] for record in records):
        return Value(missing=UNCHECKED)
    return Value("0", 0)


def leak_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in one line for each task and corpus which test cases were in it."""
    found: dict[tuple[str, str], tuple[set[str], int, set[str]]] = {}
    for record in records:
        cases = record["leaks"]["found"]
        if cases:
            key = (record["cell"]["task"], record["corpus"] or "an unknown corpus")
            known = found.setdefault(key, (set(), len(record["split"]["test"]), set()))
            known[0].update(cases)
            known[2].add(record["cell"]["method"])
    return [
        f"{task}: {len(cases)} of {tested} test cases were in {corpus}, on which"
        f" {', '.join(sorted(methods))} pretrained: {', '.join(sorted(cases))}"
        for (task, corpus), (cases, tested, methods) in sorted(found.items())
    ]
