"""What methods learn, over pretraining: pictures kept beside the encoder (BrainMVP's templates)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl_bench.analysis.leaderboard.marks import short
from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.record import folder_name

_NAME = re.compile(r"(.+)_(\d+)\.png")


@dataclass(frozen=True)
class Gallery:
    """The pictures of one pretraining."""

    title: str
    steps: tuple[int, ...]
    rows: Mapping[str, Mapping[int, str]]
    """Name -> step -> path below the page's folder."""


def write_galleries(out: Path, results: Results) -> list[Gallery]:
    """Copy the pictures of every pretraining beside the page, and say where they lie."""
    told: dict[str, Mapping[str, Any]] = {}
    for record in results.records:
        told.setdefault(record["cell"]["pretraining"], record)
    return [
        _write(out, key, told[key], paths)
        for key, paths in sorted(results.pictures.items())
        if key in told and paths
    ]


def _write(out: Path, key: str, record: Mapping[str, Any], paths: Sequence[Path]) -> Gallery:
    place = Path("pretraining") / folder_name(key)[:16]
    (out / place).mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[int, str]] = {}
    for path in paths:
        named = _NAME.fullmatch(path.name)
        if named is None:
            continue
        target = place / f"{folder_name(named[1])}_{named[2]}.png"
        (out / target).write_bytes(path.read_bytes())
        rows.setdefault(named[1], {})[int(named[2])] = target.as_posix()
    cell = record["cell"]
    title = f"{cell['method']} on {record['corpus']}, {cell['backbone']}, pretraining {short(key)}"
    steps = sorted({step for row in rows.values() for step in row})
    return Gallery(title, tuple(steps), rows)
