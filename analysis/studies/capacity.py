"""Accuracy by the size of the encoder and of its crop (paper 004, 5.7.2, Fig. 9b)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench import registry
from medssl_bench.analysis.leaderboard.marks import Mark, short
from medssl_bench.analysis.statistics.crossed import paired_interval
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

SHOWN = {
    "method": "{method}",
    "backbone": "{backbone}",
    "parameters (M)": "{params_m}",
    "crop": "{crop}",
    "corpus": "{corpus} {corpus_size}",
    "mean": "{mean} [{low}, {high}]",
}
PRETRAINED = ["method", "corpus", "corpus_size", "tuning"]
"""What encoders of different size must share to be compared."""
REASON = "no method was run with two backbones or two crops on this task and these shots"


def analyse(evidence: Evidence) -> Outcome:
    """Compare the backbones and crops of each method, smallest first."""
    metric, level = evidence.options.metric, 1 - evidence.options.alpha
    crops = {record["cell"]["protocol"]: _crop(record) for record in evidence.records.records}
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    notes: dict[tuple[str, str, str], list[str]] = {}
    for panel in evidence.panels():
        for identity, crossed in zip(panel.identities, panel.crossed, strict=True):
            place = (panel.task, panel.shots, identity["profile"])
            interval = paired_interval(crossed, level=level)
            groups.setdefault(place, []).append(
                {
                    "method": identity["method"],
                    "backbone": identity["backbone"],
                    "params_m": parameters(identity["backbone"]),
                    "crop": crops[identity["protocol"]],
                    "corpus": identity["corpus"],
                    "corpus_size": identity["corpus_size"],
                    "tuning": identity["tuning"],
                    "protocol": short(identity["protocol"]),
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
        made = (panel.task, panel.shots, panel.identities[0]["profile"])
        notes.setdefault(made, []).extend(f"{panel.protocol}: {one}" for one in panel_notes(panel))
    sections, drawn = [], []
    for (task, shots, profile), rows in groups.items():
        title = f"{task}, shots {shots}, {profile}"
        table = several(pd.DataFrame(rows))
        lines = notes[task, shots, profile]
        if table.empty:
            sections.append(Section(title, table, notes=lines, reason=REASON))
            continue
        sections.append(Section(title, table, SHOWN, lines, digits_of(metric)))
        drawn.append((title, table))
    claim = (
        f"Mean {metric} by backbone and crop; parameters are those of the segmentor. Intervals are"
        " over draws and test cases (of one draw: over cases alone). Crops differ in protocol, so"
        " these are different trainings of one method, not a ranking of methods."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            figure, axes = sheet(len(drawn), 6.0, 3.4)
            marks = marks_of([name for _, table in drawn for name in table["method"]])
            for one, (title, table) in zip(axes, drawn, strict=True):
                _draw(one, title, table, metric, marks)
            key_below(figure, axes, *(without(table) for _, table in drawn))
        figures["capacity"] = figure
    return Outcome("capacity", claim, sections, figures)


def parameters(backbone: str) -> float:
    """Return millions of parameters in the segmentor; NaN for a backbone that does not say."""
    known = registry.backbones.entries()
    return float(known[backbone].info.get("params_m", np.nan)) if backbone in known else np.nan


def several(table: pd.DataFrame) -> pd.DataFrame:
    """Keep pretrainings that have several backbones or crops, smallest first."""
    kinds = table.assign(kind=table["backbone"] + table["crop"])
    kept = table[kinds.groupby(PRETRAINED)["kind"].transform("nunique") > 1]
    return kept.sort_values([*PRETRAINED, "params_m", "crop"], ignore_index=True)


def _crop(record: Mapping[str, Any]) -> str:
    settings = record["settings"]
    crop = settings.get("finetune", {}).get("crop") or settings.get("task", {}).get("crop") or ()
    return "x".join(map(str, crop))


def _draw(
    axes: Axes, title: str, table: pd.DataFrame, metric: str, marks: Mapping[str, Mark]
) -> None:
    kinds = table[["params_m", "crop", "backbone"]].drop_duplicates()
    kinds = kinds.sort_values(["params_m", "crop"])
    order = [(row.backbone, row.crop) for row in kinds.itertuples()]
    groups = list(table.groupby(PRETRAINED, sort=True))
    shifts = np.linspace(-0.15, 0.15, len(groups)) if len(groups) > 1 else [0.0]
    for ((method, *corpus), rows), shift in zip(groups, shifts, strict=True):
        places = [order.index(one) for one in zip(rows["backbone"], rows["crop"], strict=True)]
        y, low, high = (rows[name].to_numpy(float) for name in ("mean", "low", "high"))
        label = " ".join((str(method), *map(str, corpus))).strip()
        x = np.array(places) + shift
        points(axes, x, y, low, high, mark=marks[str(method)], label=label)
    words = [
        f"{backbone}\n{size:.1f} M" + (f"\n{crop}" if crop else "")
        for size, crop, backbone in kinds.to_numpy()
    ]
    axes.set_xticks(range(len(order)), words, fontsize=8)
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.set_ylabel(METRIC_NAMES[metric])
    axes.grid(axis="y")
    titled(axes, title)
