"""Which figures the page has, and which lines each of them gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from medssl_bench.analysis.figures import (
    Line,
    curve,
    layer_profiles,
    loss_curves,
    metric_against_hours,
    metric_against_shots,
)
from medssl_bench.analysis.leaderboard.cost import Cost
from medssl_bench.analysis.leaderboard.marks import (
    BASELINE_MARKER,
    DASHES,
    MARKERS,
    Mark,
    row_labels,
)
from medssl_bench.analysis.leaderboard.views import shots_text
from medssl_bench.analysis.tables import IDENTITY, ROW, shots_order


@dataclass(frozen=True)
class Plot:
    """A figure: its file name without ending, what it shows, and the SVG."""

    name: str
    kind: str
    title: str
    task: str
    """Empty where it is of no one task."""
    svg: str


def plot_shots(
    board: pd.DataFrame, marks: Mapping[str, Mark], metric: Literal["dice", "auc"] = "dice"
) -> list[Plot]:
    """One figure per task: a metric against shots, a line per row of the leaderboard."""
    kind, word = ("shots", "Dice") if metric == "dice" else ("auc", "AUC")
    plots = []
    for number, (task, rows) in enumerate(board.groupby("task", sort=True)):
        shots = sorted(rows["shots"].unique(), key=shots_order)
        lines = []
        for label, mark, mine in _by_identity(rows, marks):
            mine = mine.assign(_x=mine["shots"].map(shots.index)).sort_values("_x")
            x, y = mine["_x"].to_numpy(float), mine[metric].to_numpy(float)
            lines.append(Line(label, mark, x, y, mine[f"{metric}_sd"].to_numpy(float)))
        svg = metric_against_shots(str(task), shots, lines, word)
        plots.append(Plot(f"{kind}-{number}", kind, str(task), str(task), svg))
    return plots


def plot_convergence(
    histories: pd.DataFrame, marks: Mapping[str, Mark], column: str, ylabel: str
) -> list[Plot]:
    """One figure per task and shots: ``column`` against step, averaged over draws and seeds."""
    if histories.empty or column not in histories:
        return []
    words = [name for name in [*ROW, "draw", "seed"] if name in histories]
    known = histories[[*words, "step", column]].dropna(subset=[column])
    known = known.assign(_run=known.groupby(["draw", "seed"]).ngroup())
    plots = []
    for number, ((task, shots), rows) in enumerate(_by_shots(known, ["task", "shots"])):
        lines = [
            Line(label, mark, *curve(mine, column))
            for label, mark, mine in _by_identity(rows, marks)
        ]
        title = f"{task}, {shots_text(shots)}"
        svg = loss_curves(title, lines, ylabel)
        plots.append(Plot(f"{column}-{number}", column, title, str(task), svg))
    return plots


def plot_reuse(similarity: pd.DataFrame, marks: Mapping[str, Mark]) -> list[Plot]:
    """One figure per task, shots and backbone: CKA of each layer before against after fine-tuning.

    Averaged over draws and seeds, with the standard deviation over them.
    """
    if similarity.empty:
        return []
    same = similarity[similarity["layer_a"] == similarity["layer_b"]]
    groups = _by_shots(same.dropna(subset=["cka"]), ["task", "shots", "backbone"])
    plots = []
    for number, ((task, shots, backbone), rows) in enumerate(groups):
        names = list(dict.fromkeys(same[same["backbone"] == backbone]["layer_a"]))
        lines = []
        for label, mark, mine in _by_identity(rows, marks):
            layers = mine.groupby("layer_a")["cka"].agg(["mean", "std"]).reindex(names)
            x, y = np.arange(1.0, len(names) + 1), layers["mean"].to_numpy(float)
            lines.append(Line(label, mark, x, y, layers["std"].to_numpy(float)))
        title = f"{task}, {shots_text(shots)}"
        if similarity["backbone"].nunique() > 1:
            title += f", {backbone}"
        svg = layer_profiles(title, lines)
        plots.append(Plot(f"cka-{number}", "cka", title, str(task), svg))
    return plots


def plot_pretraining(
    histories: pd.DataFrame, identities: pd.DataFrame, marks: Mapping[str, Mark]
) -> list[Plot]:
    """One figure per method; losses of different pretext tasks are on different scales.

    ``identities`` names the method of each pretraining key.
    """
    if histories.empty:
        return []
    columns = [name for name in IDENTITY if name not in ("protocol", "profile", "tuning")]
    known = identities[columns].drop_duplicates()
    table = histories[["pretraining", "step", "loss"]].merge(known, on="pretraining")
    plots = []
    for number, (method, rows) in enumerate(table.groupby("method", sort=True)):
        lines = [
            Line(label, mark, *curve(mine.assign(_run="one"), "loss"))
            for label, mark, mine in _by_identity(rows, marks)
        ]
        svg = loss_curves(str(method), lines, "Pretraining loss")
        plots.append(Plot(f"pretraining-{number}", "pretraining", str(method), "", svg))
    return plots


def plot_cost(
    board: pd.DataFrame, costs: Mapping[tuple[str, ...], Cost], marks: Mapping[str, Mark]
) -> list[Plot]:
    """One figure per task: mean Dice against the wall time of a cell, a line per row."""
    plots = []
    for number, (task, rows) in enumerate(board.groupby("task", sort=True)):
        hours = [costs[tuple(row)].wall_hours for row in rows[ROW].to_numpy()]
        lines = []
        for label, mark, mine in _by_identity(rows.assign(_hours=hours), marks):
            mine = mine.assign(_order=mine["shots"].map(shots_order)).sort_values("_order")
            x, y = mine["_hours"].to_numpy(float), mine["dice"].to_numpy(float)
            lines.append(Line(label, mark, x, y, words=list(mine["shots"].map(str))))
        svg = metric_against_hours(str(task), lines)
        plots.append(Plot(f"cost-{number}", "cost", str(task), str(task), svg))
    return plots


def _by_shots(
    rows: pd.DataFrame, columns: Sequence[str]
) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Split rows by these columns, of which the second is the shots, the fewest first."""
    groups = [(tuple(map(str, key)), mine) for key, mine in rows.groupby([*columns], sort=True)]
    return sorted(groups, key=lambda one: (one[0][0], shots_order(one[0][1]), one[0]))


def _by_identity(
    rows: pd.DataFrame, marks: Mapping[str, Mark]
) -> list[tuple[str, Mark, pd.DataFrame]]:
    """Split rows into lines in the order of the marks; variants differ by dash and marker."""
    place = {method: number for number, method in enumerate(marks)}
    names = [name for name in IDENTITY if name in rows]
    groups = [
        ({name: str(word) for name, word in zip(names, key, strict=True)}, mine)
        for key, mine in rows.groupby(names, sort=True, dropna=False)
    ]
    groups.sort(key=lambda group: place[group[0]["method"]])
    full = [{**dict.fromkeys(IDENTITY, ""), **identity} for identity, _ in groups]
    return [
        (label, _variant(marks[one["method"]], _number(full, index)), mine)
        for index, (label, one, (_, mine)) in enumerate(
            zip(row_labels(full), full, groups, strict=True)
        )
    ]


def _number(identities: Sequence[Mapping[str, str]], index: int) -> int:
    """How many rows of the same method come before this one."""
    method = identities[index]["method"]
    return sum(one["method"] == method for one in identities[:index])


def _variant(mark: Mark, number: int) -> Mark:
    if number == 0:
        return mark
    dashes = (DASHES.index(mark.dash) + number) % len(DASHES)
    shapes = [*MARKERS, BASELINE_MARKER]
    marker = shapes[(shapes.index(mark.marker) + number) % len(shapes)]
    return Mark(mark.colour, marker, DASHES[dashes])
