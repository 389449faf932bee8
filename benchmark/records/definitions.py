"""Whether the metrics of a record were computed by definitions that this version has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medssl_bench.analysis import classification, metrics
from medssl_bench.errors import did_you_mean
from medssl_bench.record import Record


def known_definitions(record: Record) -> dict[str, str]:
    """Return metric -> definition as this version would record them for the record's task."""
    settings: dict[str, Any] = record.settings
    if "all" in record.metrics:
        return classification.definitions([*settings["task"]["classes"].values()])
    return metrics.definitions(settings["evaluate"]["nsd_tolerance_mm"], more=True)


def definition_faults(record: Record) -> Iterator[str]:
    """Yield a line for every definition that is unknown, altered or missing."""
    try:
        known = known_definitions(record)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        yield "settings say no nsd_tolerance_mm or no classes, on which definitions depend"
        return
    names = {text.partition(":")[0]: text for text in known.values()}
    for metric, text in sorted(record.definitions.items()):
        name = text.partition(":")[0]
        if name not in names:
            yield f"{metric}: unknown definition {name!r}.{did_you_mean(name, names)}"
        elif names[name] != text or known.get(metric) != text:
            meant = known.get(metric, names[name])
            yield f"{metric}: {name} says {text!r}; here it means {meant!r}"
    for metric in ("aggregation", *(("auc",) if "all" in record.metrics else ("dice", "hd95"))):
        if metric not in record.definitions:
            yield f"{metric}: no definition is named"
