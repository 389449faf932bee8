"""How far and how widely the heads of window attention look, before and after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.leaderboard.marks import DASHES
from medssl_bench.analysis.studies.drawing import (
    legend_below,
    marks_of,
    sheet,
    style,
    titled,
    variants,
)
from medssl_bench.analysis.studies.outcome import Evidence, Outcome, Section
from medssl_bench.analysis.studies.reuse import LACKING, RUN, SETUP, labelled, only, title_of
from medssl_bench.analysis.tables import COMPARABLE, IDENTITY, as_words, shots_order

if TYPE_CHECKING:
    from matplotlib.typing import FillStyleType

CLAIM = (
    "Mean distance from a query to what it attends to, inside its window, and the entropy of its"
    " attention, over the heads of a layer: mean [least head, greatest head], means over runs."
    " Shares relate to a head that attends to everything in the window alike: below 1 it looks"
    " nearer, or at fewer tokens. Windows bound both, so compare methods, not layers, in mm."
)
FILLS: Sequence[FillStyleType] = ("full", "none", "left", "right")
"""Of the markers of one method by several pretrainings."""
SHOWN = {
    "method": "{method}",
    "shots": "{shots}",
    "encoder": "{encoder}",
    "layer": "{layer}",
    "heads": "{heads}",
    "distance (mm)": "{distance_mm}",
    "share of uniform": "{distance_share} [{distance_least}, {distance_greatest}]",
    "entropy (share)": "{entropy_share} [{entropy_least}, {entropy_greatest}]",
}


def analyse(evidence: Evidence) -> Outcome:
    """Describe each layer's heads by method and shots."""
    table, sections, drawn = evidence.records.attention, [], []
    if not table.empty:
        words = only(as_words(table, [*COMPARABLE, *IDENTITY, *RUN]), evidence.options)
        for key, rows in words.groupby(SETUP, sort=True):
            title = title_of(dict(zip(SETUP, map(str, key), strict=True)))
            shares = rows.assign(
                distance_share=rows["distance_mm"] / rows["uniform_distance_mm"],
                entropy_share=rows["entropy"] / rows["uniform_entropy"],
            )
            crops = ", ".join(str(n) for n in sorted(rows["n"].unique()))
            found = layers(shares)
            sections.append(Section(title, found, SHOWN, [f"{crops} crops of test cases"], 2))
            drawn.append((title, found))
    if not drawn:
        reason = LACKING.format(what="attention") + " where the backbone has attention in windows"
        return Outcome("attention", CLAIM, [Section("attention", pd.DataFrame(), reason=reason)])
    if not evidence.wants_figures:
        return Outcome("attention", CLAIM, sections)
    with style():
        figure, axes = sheet(len(drawn), 5.0, 3.2, 2)
        everything = pd.concat([found for _, found in drawn])
        handles: dict[str, Any] = {}
        for number, (title, found) in enumerate(drawn):
            for place, encoder in enumerate(("before", "after")):
                one = axes[2 * number + place]
                handles |= _draw(one, found[found["encoder"] == encoder], everything)
                titled(one, f"{title.split(',')[0]}, {encoder}")
        legend_below(figure, handles)
    return Outcome("attention", CLAIM, sections, {"attention": figure})


def layers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a method, shots, encoder and layer; heads are averaged over runs first."""
    made = []
    for label, method, shots, mine in labelled(rows):
        columns = ["distance_mm", "distance_share", "entropy_share"]
        heads = mine.groupby(["encoder", "layer", "head"], sort=False)[columns].mean()
        for (encoder, layer), found in heads.groupby(["encoder", "layer"], sort=False):
            row = {
                "method": label,
                "name": method,
                "shots": shots,
                "encoder": encoder,
                "layer": layer,
                "heads": len(found),
                "distance_mm": float(found["distance_mm"].mean()),
            }
            for name in ("distance", "entropy"):
                share = found[f"{name}_share"]
                row[f"{name}_share"] = float(share.mean())
                row[f"{name}_least"] = float(share.min())
                row[f"{name}_greatest"] = float(share.max())
            made.append(row)
    return pd.DataFrame(made)


def _draw(axes: Axes, here: pd.DataFrame, everything: pd.DataFrame) -> dict[str, Any]:
    """Draw the mean and the range over heads of each layer; shots are told apart by dashes.

    Returns what stands for each line in a legend.
    """
    marks = marks_of(everything["name"])
    variant = variants(dict(zip(everything["method"], everything["name"], strict=True)))
    shots = sorted(everything["shots"].unique(), key=shots_order)
    names: Sequence[str] = list(dict.fromkeys(here["layer"]))
    groups = list(here.groupby(["method", "shots"], sort=False))
    shifts = np.linspace(-0.25, 0.25, len(groups)) if len(groups) > 1 else [0.0]
    handles = {}
    for ((method, at), rows), shift in zip(groups, shifts, strict=True):
        mark = marks[rows["name"].iloc[0]]
        places = np.array([names.index(layer) for layer in rows["layer"]]) + 1 + shift
        mean = rows["distance_share"].to_numpy(float)
        ends = [mean - rows["distance_least"], rows["distance_greatest"] - mean]
        handles[f"{method}, shots {at}"] = axes.errorbar(
            places, mean, ends, color=mark.colour, marker=mark.marker, markersize=4, capsize=2,
            linestyle=DASHES[shots.index(at) % len(DASHES)], elinewidth=0.9,
            fillstyle=FILLS[variant[str(method)] % len(FILLS)],
        )  # fmt: skip
    axes.axhline(1, color="#1b1f23", linewidth=0.8)
    axes.set_xticks(range(1, len(names) + 1))
    axes.set_xlabel("Layer")
    axes.set_ylabel("Attention distance,\nshare of uniform")
    axes.grid(axis="y")
    return handles
