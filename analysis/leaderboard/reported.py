"""What papers print, beside what was measured: rows of their own, never averaged or ranked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from medssl_bench.analysis.leaderboard.views import Row, Table, Value
from medssl_bench.analysis.studies.reported import NUMBER, read_corrections, read_reported
from medssl_bench.analysis.tables import rows_of

PAPERS = {
    "medcoss": "MedCoSS",
    "medcoss_supp": "MedCoSS supplement",
    "umif": "UmiF",
    "brainmvp": "BrainMVP",
    "ssl_transfer": "SSL transferability",
}
"""Source in ``results/reported`` to the paper's short name."""


HERE = {"vsseg": "vs"}
"""Task as ``results/reported`` calls it -> its name here, where that is another."""


@dataclass(frozen=True)
class Printed:
    """A printed number; of Dice, accuracy, AUC and F1 as a fraction."""

    value: float
    table: str = ""
    spread: float = math.nan
    """As printed; the papers do not say of what. NaN where none is."""
    misprint: str = ""
    """What is wrong with it by all appearance; the number is as printed nevertheless."""


@dataclass(frozen=True)
class ReportedRow:
    """What a paper prints of a method over all targets of a task."""

    label: str
    scores: Mapping[str, Printed]
    """``dice`` and, from the table beside it, ``hd95`` (no paper says of which unit); ``acc``,
    ``auc`` and ``f1``."""
    source: str
    table: str
    backbone: str
    pretraining: str

    @property
    def misprints(self) -> str:
        """What is wrong with any of the numbers."""
        return "; ".join(one.misprint for one in self.scores.values() if one.misprint)


def printed_rows() -> dict[tuple[str, str], list[ReportedRow]]:
    """Return what is printed of the mean Dice of each (task, shots), best first."""
    return _rows(lambda scores: "dice" in scores, "dice")


def printed_classes() -> dict[tuple[str, str], list[ReportedRow]]:
    """Return what is printed of classification for each (task, shots), best AUC first."""
    return _rows(lambda scores: "dice" not in scores and {"acc", "auc"} & {*scores} != set(), "auc")


def _rows(
    wanted: Callable[[Collection[str]], bool], by: str
) -> dict[tuple[str, str], list[ReportedRow]]:
    """Return the rows whose metrics are ``wanted``; a table of HD95 alone joins that of Dice."""
    wrong, table = misprints(), read_reported()
    scored: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Printed]]] = {}
    distances: dict[tuple[str, ...], Printed] = {}
    for place, cell in enumerate(rows_of(table)):
        if cell["target"] not in ("AVG", "mean"):
            continue
        scale = 0.01 if cell["unit"] == "percent" else 1.0
        spread = float(cell["std"]) * scale if cell["std"] else math.nan
        one = Printed(cell["value"] * scale, cell["table"], spread, wrong.get(place, ""))
        words = ("source", "backbone", "pretraining", "task", "shots")
        who = (cell["method_label"].casefold(), *(cell[word] for word in words))
        if cell["metric"] == "hd95":
            distances[who] = one
        else:
            scored.setdefault((cell["table"], *who), (cell, {}))[1][cell["metric"]] = one
    found: dict[tuple[str, str], list[ReportedRow]] = {}
    for names, (cell, scores) in scored.items():
        if not wanted(scores):
            continue
        if "dice" in scores and names[1:] in distances:
            scores["hd95"] = distances[names[1:]]
        row = ReportedRow(
            label=cell["method_label"],
            scores=scores,
            source=PAPERS.get(cell["source"], cell["source"]),
            table=cell["table"],
            backbone=cell["backbone"],
            pretraining=cell["pretraining"],
        )
        task = HERE.get(cell["task"], cell["task"])
        found.setdefault((task, cell["shots"]), []).append(row)
    nothing = Printed(-math.inf)
    return {
        key: sorted(rows, key=lambda one: -one.scores.get(by, nothing).value)
        for key, rows in found.items()
    }


def misprints() -> dict[int, str]:
    """Say what is wrong with a printed number, by its row in the table of printed results.

    That is what ``reported_corrections.csv`` suggests, and an average which is more than a unit of
    its last place from the mean of its parts, as far as that is not put right by a correction.
    """
    cells, said = rows_of(read_reported()), read_corrections()
    found: dict[int, str] = {}
    averages: dict[tuple[str, ...], int] = {}
    parts: dict[tuple[str, ...], list[float]] = {}
    for place, cell in enumerate(cells):
        value = cell["value"]
        known = said.get(tuple(cell[name] for name in NUMBER))
        if known is not None:
            suggested, reason = known
            value = float(suggested)
            found[place] = f"apparent misprint for {suggested}: {reason}"
        row = tuple(cell[name] for name in (*NUMBER, "pretraining") if name != "target")
        if cell["target"] == "AVG":
            averages[row] = place
        else:
            parts.setdefault(row, []).append(value)
    for row, place in averages.items():
        if len(parts.get(row, ())) < 2 or place in found:
            continue
        printed, mean = cells[place]["printed"], fmean(parts[row])
        unit = 10.0 ** -len(printed.partition(".")[2])
        if abs(float(printed) - mean) > unit + 1e-9:
            found[place] = f"apparent misprint: the parts of {printed} average {mean:.3f}"
    return found


def printed_tables() -> list[Table]:
    """Return each paper's table of each task: a row per method and shots, a column per number."""
    tables, wrong = [], misprints()
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for place, cell in enumerate(rows_of(read_reported())):
        found = groups.setdefault((cell["source"], cell["table"], cell["task"]), [])
        found.append({**cell, "misprint": wrong.get(place, "")})
    for index, ((source, table, task), cells) in enumerate(groups.items()):
        units = {cell["metric"]: cell["unit"] for cell in cells}
        columns = list(dict.fromkeys((cell["target"], cell["metric"]) for cell in cells))
        rows: dict[tuple[str, ...], dict[tuple[str, str], dict[str, Any]]] = {}
        for cell in cells:
            who = tuple(cell[name] for name in ("method_label", "shots", "backbone", "pretraining"))
            rows.setdefault(who, {}).setdefault((cell["target"], cell["metric"]), cell)
        body = [
            Row(
                label,
                None,
                [
                    Value(shots, shots),
                    *(_printed(mine.get(place)) for place in columns),
                    Value(backbone, backbone),
                    Value(pretraining, pretraining),
                ],
            )
            for (label, shots, backbone, pretraining), mine in rows.items()
        ]
        heads = [f"{target} {metric}" for target, metric in columns]
        caption = f"{HERE.get(task, task)}: {PAPERS.get(source, source)}, {table}"
        told = ", ".join(f"{metric}: {unit}" for metric, unit in units.items())
        notes = [f"as printed ({told})", *sorted({cell["note"] for cell in cells} - {""})]
        tables.append(
            Table(
                f"printed-{index}",
                caption,
                ["Method", "Shots", *heads, "Backbone", "Pretraining"],
                body,
                notes=notes,
            )
        )
    return tables


def _printed(cell: Mapping[str, Any] | None) -> Value:
    """Write one printed number; None where the paper prints no such number."""
    if cell is None:
        return Value(missing="not printed")
    text = cell["printed"].replace("-", "\u2212")
    text = f"{text} \u00b1 {cell['std']}" if cell["std"] else text
    return Value(text, cell["value"], note=cell["misprint"])
