"""How fast fine-tuning converges (paper 004, Fig. 6): area under the curve, steps to 90 and 95 %.

Read from the histories of fine-tuning: validation Dice where runs have it, else training loss.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.leaderboard.marks import row_labels
from medssl_bench.analysis.studies.drawing import marks_of, sheet, style, titled
from medssl_bench.analysis.studies.outcome import Evidence, Outcome, Section
from medssl_bench.analysis.tables import (
    COMPARABLE,
    IDENTITY,
    RUN,
    as_categories,
    mean_table,
    shots_order,
)

BINS = 50
"""A training loss is noisy: each run is averaged over so many stretches of steps."""
SHARES = (0.90, 0.95)
SHOWN = {
    "method": "{method}",
    "runs": "{runs}",
    "mean height": "{area} (SD {area_sd})",
    "end": "{end}",
    **{f"steps to {share:.0%}": f"{{steps_{share:.0%}}}" for share in SHARES},
}


def analyse(evidence: Evidence) -> Outcome:
    """Describe each method's mean curve, by task and shots."""
    histories, options = evidence.records.histories, evidence.options
    column = "validation_dice" if _known(histories, "validation_dice") else "loss"
    sections, drawn = [], []
    known = histories[[*RUN, "step", column]].dropna(subset=[column])
    known = as_categories(known, RUN)
    known = known.assign(run=known.groupby(["draw", "seed"]).ngroup())
    for name, word in (("task", options.task), ("shots", options.shots)):
        if word is not None:
            known = known[known[name] == word]
    groups = [
        (dict(zip(COMPARABLE, map(str, key), strict=True)), rows)
        for key, rows in known.groupby(COMPARABLE, sort=True)
    ]
    groups.sort(key=lambda one: (one[0]["task"], shots_order(one[0]["shots"])))
    for words, rows in groups:
        curves = _curves(rows, column)
        table = describe(curves, rising=column != "loss")
        title = f"{words['task']}, shots {words['shots']}, {words['backbone']}, {words['profile']}"
        title += f", protocol {words['protocol'][:8]}"
        notes = [f"of {column}; steps at which a method's mean curve is there for good"]
        sections.append(Section(title, table, SHOWN, notes))
        drawn.append((title, curves))
    if not sections:
        reason = "no history for this task and these shots"
        sections = [Section("convergence", pd.DataFrame(), reason=reason)]
    what = "validation Dice" if column != "loss" else "training loss, as runs hold no validation"
    claim = (
        f"Curves of {what}, each run averaged over {BINS} stretches of steps: `mean height` is the"
        " area under the curve divided by its length. 90 %"
        " is nine tenths of the way from the first point of all methods to the best end of any"
        " method, so a method that saturates early and low does not look fast."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            figure, axes = sheet(len(drawn), 5.5, 3.0)
            for one, (title, curves) in zip(axes, drawn, strict=True):
                _draw(one, title, curves, column)
        figures["convergence"] = figure
    return Outcome("convergence", claim, sections, figures)


def describe(curves: dict[str, tuple[str, pd.DataFrame]], *, rising: bool) -> pd.DataFrame:
    """Return one row a method.

    Args:
        curves: Label to (method, curve): rows are steps, columns runs.
        rising: False for a loss.
    """
    means = {label: table.mean(axis=1) for label, (_, table) in curves.items()}
    start = float(np.mean([curve.iloc[0] for curve in means.values()]))
    ends = [curve.iloc[-1] for curve in means.values()]
    goal = max(ends) if rising else min(ends)
    rows = []
    for label, (_, table) in curves.items():
        areas = heights(table)
        row: dict[str, object] = {
            "method": label,
            "runs": table.shape[1],
            "area": float(np.mean(areas)),
            "area_sd": float(np.std(areas, ddof=1)) if len(areas) > 1 else np.nan,
            "end": float(means[label].iloc[-1]),
        }
        for share in SHARES:
            steps = steps_to(means[label], start + share * (goal - start), rising=goal > start)
            row[f"steps_{share:.0%}"] = "not reached" if steps is None else str(round(steps))
        rows.append(row)
    return pd.DataFrame(rows)


def heights(table: pd.DataFrame) -> list[float]:
    """Return the area under each run's curve divided by its length; of one point, its value.

    ``table``: rows are steps, columns runs; NaN where a run has no value.
    """
    steps, found = table.index.to_numpy(float), []
    for run in table.to_numpy(float).T:
        known = ~np.isnan(run)
        x, y = steps[known], run[known]
        found.append(float(np.trapezoid(y, x) / np.ptp(x)) if len(x) > 1 else float(y[0]))
    return found


def steps_to(curve: pd.Series[float], level: float, *, rising: bool) -> float | None:
    """Return the first step from which on a curve (indexed by step) keeps to the level."""
    reached = (curve >= level) if rising else (curve <= level)
    missed = np.flatnonzero(~reached.to_numpy())
    first = int(missed[-1]) + 1 if len(missed) else 0
    return None if first == len(curve) else float(curve.index[first])


def _curves(rows: pd.DataFrame, column: str) -> dict[str, tuple[str, pd.DataFrame]]:
    found = [
        (dict(zip(IDENTITY, map(str, key), strict=True)), mine)
        for key, mine in rows.groupby(IDENTITY, sort=True)
    ]
    labels = row_labels([identity for identity, _ in found])
    top = float(rows["step"].max())
    width = max(1.0, top / BINS) if column == "loss" else 1.0
    curves = {}
    for label, (identity, mine) in zip(labels, found, strict=True):
        # A stretch is named by its last step: what is known once it is over.
        stretch = np.ceil(mine["step"].to_numpy(float) / width) * width
        table = mean_table(stretch, mine["run"], mine[column].to_numpy(float))
        curves[label] = (identity["method"], table)
    return curves


def _known(histories: pd.DataFrame, column: str) -> bool:
    return column in histories and bool(histories[column].notna().any())


def _draw(axes: Axes, title: str, curves: dict[str, tuple[str, pd.DataFrame]], column: str) -> None:
    names = [method for method, _ in curves.values()]
    marks = marks_of(names)
    for number, (label, (method, table)) in enumerate(curves.items()):
        mean, spread = table.mean(axis=1), table.std(axis=1)
        dash = ("-", "--", "-.", ":")[names[:number].count(method) % 4]
        axes.plot(mean.index, mean, color=marks[method].colour, linestyle=dash, label=label)
        if spread.notna().any():
            axes.fill_between(
                mean.index, mean - spread, mean + spread, color=marks[method].colour, alpha=0.15,
                linewidth=0,
            )  # fmt: skip
    axes.set_xlabel("Optimizer step")
    axes.set_ylabel("Validation Dice" if column != "loss" else "Training loss")
    axes.grid(axis="y")
    axes.legend(frameon=False, fontsize=8)
    titled(axes, title)
