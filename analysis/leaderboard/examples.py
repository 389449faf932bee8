"""Example slices: for each task and shots, the same test case as every method segments it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medssl_bench.analysis.leaderboard.marks import Mark, row_labels
from medssl_bench.analysis.leaderboard.results import Results, Slice
from medssl_bench.analysis.leaderboard.views import number, shots_text
from medssl_bench.analysis.tables import prepare, rows_of, shots_order, target_order
from medssl_bench.stages.slices import COLOURS


@dataclass(frozen=True)
class Example:
    """One picture with its caption."""

    label: str
    mark: Mark
    picture: Slice
    dice: str
    """Dice of this case, empty where no target is in its reference."""


@dataclass(frozen=True)
class ExampleRow:
    """Pictures of one test case, one for each method, from the same draw and seed."""

    title: str
    task: str
    case: str
    draw: str
    seed: str
    colours: dict[str, str]
    """Class -> its colour in the picture."""
    examples: list[Example]


def example_rows(results: Results, marks: Mapping[str, Mark]) -> list[ExampleRow]:
    """Choose for each task and shots the case, draw and seed that most rows have a picture of.

    Ties go to the first case in name order, so nobody picks the pictures.
    """
    cells = {record["key"]: record for record in results.records}
    groups: dict[tuple[str, str], dict[tuple[int, int, str], dict[str, Slice]]] = {}
    for picture in results.slices:
        cell = cells[picture.key]["cell"]
        cases = groups.setdefault((cell["task"], cell["shots"]), {})
        spot = (cell["draw"], cell["seed"], picture.case)
        cases.setdefault(spot, {})[picture.key] = picture
    dice = _case_dice(results) if groups else {}
    rows = []
    for (task, shots), cases in sorted(
        groups.items(), key=lambda item: (item[0][0], shots_order(item[0][1]))
    ):
        spot = min(cases, key=lambda spot: (-len(cases[spot]), spot))
        chosen = _in_order([cells[key] for key in cases[spot]], marks)
        labels = row_labels([_identity(record) for record in chosen])
        rows.append(
            ExampleRow(
                f"{task}, {shots_text(shots)}",
                task,
                spot[2],
                str(spot[0]),
                str(spot[1]),
                _colours(results, chosen[0]),
                [
                    Example(
                        label,
                        marks[record["cell"]["method"]],
                        cases[spot][record["key"]],
                        dice.get((record["key"], spot[2]), ""),
                    )
                    for label, record in zip(labels, chosen, strict=True)
                ],
            )
        )
    return rows


def _in_order(
    records: list[Mapping[str, Any]], marks: Mapping[str, Mark]
) -> list[Mapping[str, Any]]:
    place = {method: index for index, method in enumerate(marks)}
    return sorted(records, key=lambda record: (place[record["cell"]["method"]], record["key"]))


def _identity(record: Mapping[str, Any]) -> dict[str, str]:
    cell, pretrained = record["cell"], record["pretrained"] or {}
    return {
        "method": cell["method"],
        "backbone": cell["backbone"],
        "corpus": record["corpus"] or "",
        "corpus_size": str(pretrained.get("volumes", "")),
        "pretrain_crop": "x".join(map(str, pretrained.get("crop", ()))),
        "pretraining": cell["pretraining"],
        "pretrain_seed": "" if record["pretrain_seed"] is None else str(record["pretrain_seed"]),
        "profile": record["profile"],
        "protocol": cell["protocol"],
        "tuning": cell["tuning"],
    }


def _case_dice(results: Results) -> dict[tuple[str, str], str]:
    """Return Dice of each (cell, case): the mean over targets present in the reference."""
    cases = results.segmented
    if cases.empty:
        return {}
    table = prepare(cases).assign(key=cases["key"])
    means = table.groupby(["key", "case"])["dice"].mean().dropna().reset_index()
    return {(row["key"], row["case"]): number(row["dice"], 3) for row in rows_of(means)}


def _colours(results: Results, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the colours of classes: pictures show these, also where regions of them are measured.

    A record of before tasks were recorded whole has targets alone, in order of class.
    """
    task = record["settings"].get("task") or {}
    names = {int(number): str(name) for number, name in task.get("classes", {}).items()}
    if not names:
        targets = target_order(results.segmented)[record["cell"]["task"]]
        names = dict(enumerate(targets, start=1))
    return {
        name: "#{:02x}{:02x}{:02x}".format(*COLOURS[(number - 1) % len(COLOURS)].astype(int))
        for number, name in names.items()
    }
