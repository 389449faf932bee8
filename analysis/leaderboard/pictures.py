"""Pictures of test cases beside the page: those of the first run of every row."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.leaderboard.standings import Key
from medssl_bench.digest import digest
from medssl_bench.record import folder_name


def write_pictures(
    out: Path, results: Results, row_of: Mapping[str, Key], also: Collection[str]
) -> dict[str, dict[str, str]]:
    """Write the pictures; returns cell key to case to path below ``out``.

    Of every row the least draw and seed that has pictures: two methods are then shown by the same
    labelled cases, and a page of many cells stays small. ``also`` are keys of more cells.
    """
    cells = {record["key"]: record["cell"] for record in results.records}
    first: dict[Key, str] = {}
    have = {picture.key for picture in results.slices}
    for key in sorted(have, key=lambda one: (cells[one]["draw"], cells[one]["seed"], one)):
        if key in row_of:
            first.setdefault(row_of[key], key)
    chosen = {*first.values(), *also}
    paths: dict[str, dict[str, str]] = {}
    for picture in results.slices:
        if picture.key not in chosen:
            continue
        name = f"{folder_name(picture.case)[:80]}-{digest(picture.case)[:6]}.png"
        path = f"cases/{picture.key[:16]}/{name}"
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(picture.png)
        paths.setdefault(picture.key, {})[picture.case] = path
    return paths
