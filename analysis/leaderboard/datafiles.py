"""What the page loads on demand: a script for each task with its cells and cases.

A page that is opened from disk may not fetch files, but a script tag may name one. Each file is a
single call, ``benchData(task, '{...}')``, of JSON as text: parsed, it may have any key (in a
script ``__proto__`` is none), and no ``<`` stands in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from medssl_bench.analysis.leaderboard.pairs import Board, plain
from medssl_bench.analysis.leaderboard.repeat import command
from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.leaderboard.standings import Key
from medssl_bench.digest import digest
from medssl_bench.record import folder_name

VALUES = ("dice", "hd95")
STATUS = {"ok": "o", "both_empty": "b", "pred_empty": "m", "ref_empty": "f", "classified": "c"}
"""How a (case, target) came out: ok, both empty, missed, false."""


def file_of(task: str) -> str:
    """Return the path of a task's file below the page's folder."""
    return f"data/{folder_name(task)[:60]}-{digest(task)[:6]}.js"


def data_writers(
    out: Path,
    results: Results,
    rows: Mapping[str, Key],
    ids: Mapping[Key, str],
    boards: Sequence[Board],
    pictures: Mapping[str, Mapping[str, str]],
) -> list[Callable[[], None]]:
    """Return what writes the file of each task.

    Args:
        out: The page's folder.
        results: What was read.
        rows: Cell key to the leaderboard's row it belongs to.
        ids: The row's name on the page.
        boards: Pairs of every board.
        pictures: Cell key to case to the path of its picture below the page's folder.
    """
    (out / "data").mkdir(exist_ok=True)
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for record in results.records:
        by_task.setdefault(record["cell"]["task"], []).append(record)

    def write(task: str) -> None:
        records, cases = by_task[task], results.cases[results.cases["task"] == task]
        found = {
            **_shared(records),
            **_cells(records, cases, rows, ids, pictures, results),
            "boards": [plain(board) for board in boards if board.task == task],
        }
        for cell in found["cells"]:
            if seen := results.viewers.get(cell["key"]):
                cell["viewers"] = [[path.stem, _link(path, out)] for path in seen]
        (out / file_of(task)).write_text(
            f"benchData({script_json(task)}, {_quoted(script_json(found))});\n", "utf-8"
        )

    return [partial(write, task) for task in by_task]


def _link(path: Path, out: Path) -> str:
    """Return the address of a file as seen from the page's folder."""
    return quote(Path(os.path.relpath(path, out)).as_posix())


def script_json(value: Any) -> str:
    """Return JSON that is safe inside a script: no ``<``, no line separators, no NaN."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _quoted(text: str) -> str:
    """Return a string of JavaScript in single quotes, in which JSON needs few escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _shared(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return settings, splits and library versions, which many cells share, once each."""
    return {
        "settings": {_settings_id(one): one["settings"] for one in records},
        "splits": {one["split"]["digest"]: one["split"] for one in records},
        "draws": {one["draw"]["digest"]: one["draw"] for one in records},
        "libraries": {_digest(one["libraries"]): one["libraries"] for one in records},
        "definitions": {_digest(one["definitions"]): one["definitions"] for one in records},
    }


def _settings_id(record: Mapping[str, Any]) -> str:
    return f"{record['cell']['protocol'][:12]}-{record['cell']['pretraining'][:12]}"


def _digest(words: Mapping[str, str]) -> str:
    return _digest_of(tuple(words.items()))


@lru_cache(maxsize=256)
def _digest_of(words: tuple[tuple[str, str], ...]) -> str:
    return digest(dict(words))[:12]


def _cells(
    records: Sequence[Mapping[str, Any]],
    table: pd.DataFrame,
    rows: Mapping[str, Key],
    ids: Mapping[Key, str],
    pictures: Mapping[str, Mapping[str, str]],
    results: Results,
) -> dict[str, Any]:
    case_places, cases = pd.factorize(table["case"].astype(str))
    target_places, targets = pd.factorize(table["target"].astype(str))
    size = len(cases) * len(targets)
    spots = case_places * len(targets) + target_places
    codes = pd.Index([record["key"] for record in records]).get_indexer(table["key"])
    status = np.full((len(records), size), "-")
    status[codes, spots] = table["status"].map(STATUS).to_numpy(str)
    arrays = {}
    for name in VALUES:
        if name in table:
            values = table[name].to_numpy(float)
            if name == "hd95" and "diagonal_mm" in table:
                missed = (table["status"] == "pred_empty").to_numpy()
                values = np.where(missed, table["diagonal_mm"].to_numpy(float), values)
            dense = np.full((len(records), size), np.nan)
            dense[codes, spots] = np.where(np.isfinite(values), values, np.nan)
            arrays[name] = [_short(row) for row in dense.tolist()]
    cells = [
        {
            **_cell(record, results.paths),
            "row": ids.get(rows.get(record["key"], ()), ""),
            "status": "".join(status[number]),
            **{name: found[number] for name, found in arrays.items()},
            "pictures": dict(pictures.get(record["key"], {})),
            "predictions": record["key"] in results.predictions,
        }
        for number, record in enumerate(records)
    ]
    return {"cases": list(cases), "targets": list(targets), "cells": cells}


def _short(values: Sequence[float]) -> list[float | None]:
    """Return values to five significant digits; NaN is none."""
    return [float(f"{value:.5g}") if value == value else None for value in values]


def _cell(record: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    cell, machine, cost = record["cell"], record["machine"], record["cost"]
    return {
        "key": record["key"],
        "method": cell["method"],
        "backbone": cell["backbone"],
        "shots": cell["shots"],
        "draw": cell["draw"],
        "seed": cell["seed"],
        "protocol": cell["protocol"],
        "tuning": cell["tuning"],
        "pretraining": cell["pretraining"],
        "corpus": record["corpus"],
        "profile": record["profile"],
        "record": paths.get(record["key"], ""),
        "digests": record["digests"],
        "leaks": record["leaks"],
        "split": record["split"]["digest"],
        "drawn": record["draw"]["digest"],
        "git": record["git"],
        "device": machine["device"],
        "precision": machine["precision"],
        "threads": machine["threads"],
        "wall_hours": float(f"{cost['wall_hours']:.4g}"),
        "finished": record["finished"],
        "resumed": record["resumed"],
        "versions": record["versions"],
        "settings": _settings_id(record),
        "libraries": _digest(record["libraries"]),
        "definitions": _digest(record["definitions"]),
        "command": command(record),
    }
