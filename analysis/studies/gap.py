"""Performance gap in percent to the best method at full shots (paper 004, 5.4.2, Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.leaderboard.marks import DASHES
from medssl_bench.analysis.statistics.bootstrap import percentile_interval
from medssl_bench.analysis.statistics.gaps import performance_gap, resampled_gaps
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies.drawing import (
    key_below,
    marks_of,
    points,
    sheet,
    style,
    titled,
    variants,
    without,
)
from medssl_bench.analysis.studies.outcome import (
    Evidence,
    Options,
    Outcome,
    Section,
    panel_notes,
)
from medssl_bench.analysis.tables import shots_order

SHOWN = {
    "method": "{method}",
    "shots": "{shots}",
    "mean": "{mean}",
    "gap (%)": "{gap} [{low}, {high}]",
    "by resampling (%)": "[{bootstrap_low}, {bootstrap_high}]",
}


def analyse(evidence: Evidence) -> Outcome:
    """Relate every method at every number of shots to the task's best at the most shots."""
    by_task: dict[tuple[str, str], list[Panel]] = {}
    for panel in evidence.panels():
        by_task.setdefault((panel.task, panel.protocol), []).append(panel)
    sections, drawn = [], []
    for (task, protocol), found in by_task.items():
        title = f"{task}, {protocol}"
        full = max(found, key=lambda one: shots_order(one.shots))
        if full.shots != "full":
            reason = f"no method was run with full shots; the most are {full.shots}"
            sections.append(Section(title, pd.DataFrame(), reason=reason))
            continue
        table = gaps(found, full, evidence.options)
        best = full.best_first().methods[0]
        notes = [f"reference: {best} at full shots, {full.best_first().means[0]:.3f}"]
        for panel in found:
            notes += [f"shots {panel.shots}: {line}" for line in panel_notes(panel)]
        sections.append(Section(title, table, SHOWN, notes, digits=2))
        drawn.append((title, found, table))
    claim = (
        f"(mean {evidence.options.metric} - reference) / reference in percent; the reference is the"
        " best method of the task at full shots. Intervals are over draws and test cases, with the"
        " reference's checkpoints given; `by resampling` chooses the best anew each time."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            figure, axes = sheet(len(drawn), 5.5, 3.2)
            identities: dict[str, Mapping[str, str]] = {}
            for _, found, _ in drawn:
                for panel in found:
                    identities |= dict(zip(panel.methods, panel.identities, strict=True))
            for one, (title, found, table) in zip(axes, drawn, strict=True):
                _draw(one, title, [panel.shots for panel in found], table, identities)
            key_below(figure, axes, *(without(table) for _, _, table in drawn))
        figures["gaps"] = figure
    return Outcome("gaps", claim, sections, figures)


def gaps(found: Sequence[Panel], full: Panel, options: Options) -> pd.DataFrame:
    """Return one row a method and number of shots, fewest shots first."""
    reference = full.best_first()
    rows: list[dict[str, object]] = []
    for panel in found:
        if panel.cases != full.cases:
            rows += [
                {"method": name, "shots": panel.shots, "reason": "tested on other cases"}
                for name in panel.methods
            ]
            continue
        sample = resampled_gaps(
            panel.values, full.values, higher_is_better=panel.higher_is_better,
            resamples=options.resamples, seed=options.seed,
        )  # fmt: skip
        low, high = percentile_interval(sample, 1 - options.alpha)
        for place, name in enumerate(panel.methods):
            interval = performance_gap(
                panel.crossed[place], reference.crossed[0], level=1 - options.alpha
            )
            rows.append(
                {
                    "method": name,
                    "shots": panel.shots,
                    "mean": panel.means[place],
                    "gap": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "bootstrap_low": low[place],
                    "bootstrap_high": high[place],
                    "reason": "",
                }
            )
    return pd.DataFrame(rows)


def _draw(
    axes: Axes,
    title: str,
    shots: Sequence[str],
    table: pd.DataFrame,
    identities: Mapping[str, Mapping[str, str]],
) -> None:
    """Draw one task; ``identities`` are of every label of the figure."""
    methods = {label: one["method"] for label, one in identities.items()}
    marks, variant = marks_of(methods.values()), variants(methods)
    here = [label for label in identities if (table["method"] == label).any()]
    shifts = np.linspace(-0.15, 0.15, len(here)) if len(here) > 1 else [0.0]
    for label, shift in zip(here, shifts, strict=True):
        rows = table[(table["method"] == label) & table["gap"].notna()]
        places = np.array([shots.index(word) for word in rows["shots"]]) + shift
        mark = marks[methods[label]]
        dash = DASHES[variant[label] % len(DASHES)] if variant[label] else mark.dash
        y, low, high = (rows[name].to_numpy(float) for name in ("gap", "low", "high"))
        points(axes, places, y, low, high, mark=mark, label=label, linestyle=dash)
    axes.axhline(0, color="#1b1f23", linewidth=0.8)
    axes.set_xticks(range(len(shots)), shots)
    axes.set_xlim(-0.4, len(shots) - 0.6)
    axes.set_xlabel("Shots (labelled training cases)")
    axes.set_ylabel("Performance gap (%)")
    axes.grid(axis="y")
    titled(axes, title)
