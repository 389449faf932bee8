"""Which protocols differ in the task alone: its runs were trained and measured alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medssl_bench.digest import digest
from medssl_bench.keys import common_words


def trained_alike(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return for each protocol, which holds a task, the digest of all else that decides results.

    The task's own are its data, classes, spacing, intensities and, where fine-tuning sets none, its
    crop; so is what a method with a training of its own ``planned`` for the data.
    """
    told = {record["cell"]["protocol"]: record for record in records}
    return {protocol: digest(_words(record)) for protocol, record in told.items()}


def _words(record: Mapping[str, Any]) -> dict[str, Any]:
    own = record["settings"].get("own_training")
    if own is not None:
        chosen = {name: value for name, value in own.items() if name != "planned"}
        own = [chosen, record["versions"].get("method")]
    return {
        **common_words(record["settings"]),
        "metrics": record["definitions"],
        "own_training": own,
    }
