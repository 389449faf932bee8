"""Mean ranks over test cases, and which methods are alike: Demsar's diagram."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.statistics.friedman import MeanRanks, alike_groups, mean_ranks
from medssl_bench.analysis.statistics.paired import CLAIM
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.statistics.ranks import square
from medssl_bench.analysis.studies.drawing import BESIDE, sheet, style, titled, wrapped
from medssl_bench.analysis.studies.outcome import (
    Evidence,
    Options,
    Outcome,
    Section,
    panel_notes,
    too_few,
)
from medssl_bench.analysis.studies.significance import compare_pairs

SHOWN = {"method": "{method}", "mean rank": "{mean_rank}", "alike with": "{alike}"}


def analyse(evidence: Evidence) -> Outcome:
    """Rank methods within each case; join those that adjusted pairwise tests do not tell apart."""
    sections, drawn = [], []
    for panel in evidence.panels():
        if (none := too_few(panel, least=3)) is not None:
            sections.append(none)
            continue
        found = mean_ranks(_scores(panel), alpha=evidence.options.alpha)
        if found.reason:
            notes = panel_notes(panel)
            sections.append(Section(panel.title, pd.DataFrame(), notes=notes, reason=found.reason))
            continue
        groups = _groups(panel, found, evidence.options)
        order = np.argsort(found.mean_rank, kind="stable")
        table = pd.DataFrame(
            {
                "method": [panel.methods[one] for one in order],
                "mean_rank": found.mean_rank[order],
                "alike": [_partners(panel, int(one), groups) for one in order],
                "critical_difference": found.critical_difference,
                "p": found.p,
            }
        )
        notes = [
            *panel_notes(panel),
            f"Friedman: chi-squared {found.statistic:.1f}, p = {found.p:.2g}; Nemenyi's critical"
            f" difference {found.critical_difference:.2f}",
        ]
        sections.append(Section(panel.title, table, SHOWN, notes, digits=2))
        drawn.append((panel, found, groups))
    claim = (
        "Mean ranks over test cases, 1 is best; bars join methods that no adjusted pairwise"
        " Wilcoxon test tells apart (Benavoli 2016), the ruler is Nemenyi's critical difference."
        f" A statement {CLAIM}."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            most = max(len(panel.methods) for panel, _, _ in drawn)
            longest = max(len(name) for panel, _, _ in drawn for name in panel.methods)
            lines = 1 + wrapped("m" * longest, BESIDE, 8).count("\n")
            figure, axes = sheet(len(drawn), 6.5 + lines / 2, 1.2 + 0.2 * most * lines)
            for one, (panel, found, groups) in zip(axes, drawn, strict=True):
                draw(one, panel.title, panel.methods, found, groups)
        figures["critical-difference"] = figure
    return Outcome("critical-difference", claim, sections, figures)


def _scores(panel: Panel) -> np.ndarray:
    return panel.case_means if panel.higher_is_better else -panel.case_means


def _groups(panel: Panel, found: MeanRanks, options: Options) -> list[tuple[int, ...]]:
    table = compare_pairs(panel, options)
    adjusted = square(panel.pairs, table["p_adjusted"].to_numpy(float), len(panel.methods))
    return alike_groups(found.mean_rank, np.nan_to_num(adjusted, nan=1.0) >= options.alpha)


def _partners(panel: Panel, method: int, groups: list[tuple[int, ...]]) -> str:
    others = sorted({one for group in groups if method in group for one in group} - {method})
    return ", ".join(panel.methods[one] for one in others) or "none"


def draw(
    axes: Axes,
    title: str,
    methods: tuple[str, ...],
    found: MeanRanks,
    groups: list[tuple[int, ...]],
) -> None:
    """Draw the diagram: the better half is labelled on the left, the other on the right."""
    order = [int(one) for one in np.argsort(found.mean_rank, kind="stable")]
    count, half = len(order), (len(order) + 1) // 2
    depth = 0.5 + 0.35 * len(groups)
    labels = [wrapped(f"{methods[one]} ({found.mean_rank[one]:.2f})", BESIDE, 8) for one in order]
    step = 0.25 * (1 + max(label.count("\n") + 1 for label in labels))
    for place, method in enumerate(order):
        left = place < half
        row = depth + step * (place if left else count - 1 - place)
        rank, end = found.mean_rank[method], 0.9 if left else count + 0.1
        axes.plot([rank, rank, end], [0, row, row], color="#1b1f23", linewidth=0.9)
        axes.text(
            end + (-0.05 if left else 0.05), row, labels[place],
            ha="right" if left else "left", va="center", fontsize=8,
        )  # fmt: skip
    for level, group in enumerate(groups):
        ends = found.mean_rank[list(group)]
        height = 0.3 + 0.35 * level
        axes.plot(
            [ends.min() - 0.03, ends.max() + 0.03], [height, height], color="#0173b2", linewidth=4,
            solid_capstyle="butt",
        )  # fmt: skip
    width = found.critical_difference
    axes.plot([1, 1 + width], [-0.95, -0.95], color="#d55e00", linewidth=2)
    axes.text(1 + width / 2, -1.05, f"CD {width:.2f}", ha="center", va="bottom", fontsize=8)
    axes.plot([1, count], [0, 0], color="#1b1f23", linewidth=1.2)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [0, -0.12], color="#1b1f23", linewidth=1.2)
        axes.text(rank, -0.2, str(rank), ha="center", va="bottom", fontsize=8)
    axes.set_xlim(1 - 0.6 * (count - 1), count + 0.6 * (count - 1))
    axes.set_ylim(depth + step * half, -1.6)
    titled(axes, title)
    axes.set_axis_off()
