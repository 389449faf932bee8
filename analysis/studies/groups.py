"""Accuracy by organ group (paper 004, Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.figures import BLANK, INK
from medssl_bench.analysis.statistics.crossed import paired_intervals
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies.drawing import (
    METRIC_NAMES,
    legend_below,
    marks_of,
    sheet,
    style,
    titled,
    variants,
    without,
    wrapped,
)
from medssl_bench.analysis.studies.organ_groups import groups_of
from medssl_bench.analysis.studies.outcome import (
    Evidence,
    Outcome,
    Section,
    digits_of,
    panel_notes,
)
from medssl_bench.analysis.tables import shots_order

WIDTH = 7.0
"""Of the axes, in inches."""
HATCHES = (None, "//", "..", "xx")
"""Of the bars of one method by several pretrainings."""
SHOWN = {"method": "{method}", "group": "{group}", "mean": "{mean} [{low}, {high}]"}


def analyse(evidence: Evidence) -> Outcome:
    """Average each method over the targets of each group."""
    by_place: dict[tuple[str, str, str], dict[str, Panel]] = {}
    notes: dict[tuple[str, str, str], list[str]] = {}
    for task, groups in group_tables(evidence).items():
        for name, targets in groups.items():
            for panel in evidence.panels(targets=targets):
                if panel.task != task:
                    continue
                place = (task, panel.shots, panel.protocol)
                by_place.setdefault(place, {})[name] = panel
                lines = notes.setdefault(place, [])
                lines.append(f"{name}: {', '.join(targets)}; {'; '.join(panel_notes(panel))}")
    sections, drawn = [], []
    for place in sorted(by_place, key=lambda one: (one[0], shots_order(one[1]), one[2])):
        found = by_place[place]
        level = 1 - evidence.options.alpha
        rows = []
        for name, panel in found.items():
            intervals = paired_intervals(panel.crossed, level=level)
            for label, interval in zip(panel.methods, intervals, strict=True):
                limits = {"mean": interval.mean, "low": interval.low, "high": interval.high}
                rows.append({"method": label, "group": name, **limits})
        title = ", ".join((place[0], f"shots {place[1]}", place[2]))
        digits = digits_of(evidence.options.metric)
        table = pd.DataFrame(rows)
        sections.append(Section(title, table, SHOWN, notes[place], digits))
        drawn.append((title, found, table))
    claim = (
        f"Mean {evidence.options.metric} over the group's targets present in each reference, then"
        " over cases, seeds and draws, with intervals over draws and cases (of one draw: over cases"
        " alone)."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            figure, axes = sheet(len(drawn), WIDTH, 3.0)
            methods = {
                label: identity["method"]
                for _, found, _ in drawn
                for panel in found.values()
                for label, identity in zip(panel.methods, panel.identities, strict=True)
            }
            handles: dict[str, Any] = {}
            for one, (title, found, table) in zip(axes, drawn, strict=True):
                handles |= _draw(one, title, found, table, methods)
                one.set_ylabel(METRIC_NAMES[evidence.options.metric])
            legend_below(figure, handles, *(without(table) for _, _, table in drawn))
        figures["groups"] = figure
    return Outcome("groups", claim, sections, figures)


def group_tables(evidence: Evidence) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the groups of every task of the records, or of the task that was asked for."""
    tasks = sorted(evidence.records.segmented["task"].unique())
    chosen = evidence.options.task
    return {
        task: groups_of(evidence.records, task, evidence.options.gall_bladder)
        for task in tasks
        if chosen in (None, task)
    } or {str(chosen): {}}


def _draw(
    axes: Axes,
    title: str,
    found: dict[str, Panel],
    table: pd.DataFrame,
    methods: Mapping[str, str],
) -> dict[str, Any]:
    """Draw a bar a method and group; returns what stands for each method in a legend.

    ``methods``: of every label of the figure.
    """
    names = list(found)
    marks, variant = marks_of(methods.values()), variants(methods)
    here = [label for label in methods if (table["method"] == label).any()]
    width = 0.8 / len(here)
    handles = {}
    for number, label in enumerate(here):
        rows = table[table["method"] == label].set_index("group").reindex(names)
        places = np.arange(len(names)) + (number - (len(here) - 1) / 2) * width
        ends = np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]], dtype=float)
        hatch = HATCHES[variant[label] % len(HATCHES)]
        colour = marks[methods[label]].colour
        handles[label] = axes.bar(
            places, rows["mean"], width * 0.92, yerr=ends, capsize=2, hatch=hatch,
            color=[colour if known else BLANK for known in np.isfinite(ends).all(axis=0)],
            edgecolor=INK if hatch else colour, error_kw={"elinewidth": 0.9},
        )  # fmt: skip
    axes.set_xticks(range(len(names)), [wrapped(name, WIDTH / len(names), 10) for name in names])
    axes.grid(axis="y")
    titled(axes, title)
    return handles
