"""Accuracy by the number of scans a method was pretrained on (paper 004, 5.7.1, Fig. 9a)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.leaderboard.marks import Mark
from medssl_bench.analysis.statistics.crossed import paired_interval
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies.drawing import (
    METRIC_NAMES,
    key_below,
    marks_of,
    points,
    sheet,
    style,
    titled,
    without,
)
from medssl_bench.analysis.studies.outcome import (
    Evidence,
    Outcome,
    Section,
    digits_of,
    panel_notes,
)
from medssl_bench.analysis.tables import BASELINE

CURVE = ["method", "corpus", "crop", "tuning"]
"""What pretrainings of different size must share to lie on one curve."""
SHOWN = {
    "method": "{method}",
    "corpus": "{corpus}",
    "scans": "{scans}",
    "mean": "{mean} [{low}, {high}]",
    "width": "{width}",
}
REASON = "no method was pretrained on two sizes of a corpus; see `bench run --corpus-size`"


def analyse(evidence: Evidence) -> Outcome:
    """Order the pretrainings of each method by scans; scratch has none."""
    metric, sections, drawn = evidence.options.metric, [], []
    for panel in evidence.panels():
        table = sizes(panel, 1 - evidence.options.alpha)
        notes = panel_notes(panel)
        if table.empty:
            sections.append(Section(panel.title, table, notes=notes, reason=REASON))
            continue
        sections.append(Section(panel.title, table, SHOWN, notes, digits_of(metric)))
        drawn.append((panel.title, table))
    claim = (
        f"Mean {metric} by scans of the pretraining corpus; smaller subsets lie inside larger ones."
        " Intervals are over draws and test cases (of one draw: over cases alone), with the"
        " pretraining given; `width` is theirs, which paper 004 sees shrink."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            figure, axes = sheet(len(drawn), 5.5, 3.2)
            marks = marks_of([name for _, table in drawn for name in table["method"]])
            for one, (title, table) in zip(axes, drawn, strict=True):
                _draw(one, title, table, metric, marks)
            key_below(figure, axes, *(without(table) for _, table in drawn))
        figures["corpus-size"] = figure
    return Outcome("corpus-size", claim, sections, figures)


def sizes(panel: Panel, level: float) -> pd.DataFrame:
    """Return one row a pretraining of methods that have several sizes, and one for scratch."""
    rows: list[dict[str, object]] = []
    for label, identity, crossed in zip(
        panel.methods, panel.identities, panel.crossed, strict=True
    ):
        scratch = identity["method"] == BASELINE
        if not scratch and not identity["corpus_size"]:
            continue  # a published checkpoint whose corpus nobody counted
        interval = paired_interval(crossed, level=level)
        rows.append(
            {
                "method": identity["method"],
                "label": label,
                "corpus": identity["corpus"] or "none",
                "crop": identity["pretrain_crop"],
                "tuning": identity["tuning"],
                "scans": 0 if scratch else int(identity["corpus_size"]),
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "width": interval.high - interval.low,
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    curves = table.groupby(CURVE)["scans"].transform("nunique")
    kept = table[(curves > 1) | (table["method"] == BASELINE)]
    if not (curves > 1).any():
        return pd.DataFrame()
    return kept.sort_values([*CURVE, "scans"], ignore_index=True)


def _draw(
    axes: Axes, title: str, table: pd.DataFrame, metric: str, marks: Mapping[str, Mark]
) -> None:
    scratch = table[table["method"] == BASELINE]
    grown = table[table["method"] != BASELINE]
    for (method, *words), rows in grown.groupby(CURVE, sort=False):
        line = pd.concat([scratch, rows]) if len(scratch) == 1 else rows
        mark = marks[str(method)]
        x, y, low, high = (line[name].to_numpy(float) for name in ("scans", "mean", "low", "high"))
        label = ", ".join(filter(None, map(str, (method, *words))))
        points(axes, x, y, low, high, mark=mark, label=label, linestyle="-")
    known = np.unique(table["scans"])
    axes.set_xticks(known, [str(scans) for scans in known])
    axes.set_xlabel(f"Scans pretrained on (0: {BASELINE})")
    axes.set_ylabel(METRIC_NAMES[metric])
    axes.grid(axis="y")
    titled(axes, title)
