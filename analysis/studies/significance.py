"""Which of these checkpoints differ on the test cases? Every pair by Wilcoxon, adjusted."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from medssl_bench.analysis.statistics.multiplicity import CORRECTIONS
from medssl_bench.analysis.statistics.paired import CLAIM, compare_cases
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.statistics.ranks import square
from medssl_bench.analysis.studies.drawing import sheet, style, titled
from medssl_bench.analysis.studies.outcome import (
    Evidence,
    Options,
    Outcome,
    Section,
    digits_of,
    panel_notes,
    too_few,
)

SHOWN = {
    "first": "{first}",
    "second": "{second}",
    "mean difference": "{mean}",
    "median difference": "{median} [{median_low}, {median_high}]",
    "rank-biserial": "{rank_biserial} [{rank_biserial_low}, {rank_biserial_high}]",
    "p": "{p}",
    "adjusted": "{p_adjusted}",
    "sign flips": "{p_flip}",
    "least p": "{least_p}",
    "zeros": "{n_zero}",
    "ties": "{n_ties}",
    "detectable": "{detectable}",
}


def analyse(evidence: Evidence) -> Outcome:
    """Compare every pair of methods on the means of test cases."""
    sections, maps = [], []
    for panel in (one.best_first() for one in evidence.panels()):
        if (none := too_few(panel)) is not None:
            sections.append(none)
            continue
        table = compare_pairs(panel, evidence.options)
        notes = [*panel_notes(panel), "detectable: with probability 0.8 by a paired t test"]
        digits = digits_of(panel.metric)
        sections.append(Section(panel.title, table, SHOWN, notes, digits))
        maps.append((panel, table))
    name = {"holm": "Holm", "bh": "Benjamini-Hochberg"}[evidence.options.correction]
    claim = (
        f"Differences of {evidence.options.metric}, first minus second, organs, seeds and draws"
        f" averaged by case; two-sided Wilcoxon signed rank, adjusted by {name}. A statement"
        f" {CLAIM}: for that see `bench analyze retraining`."
    )
    figures = {}
    if maps and evidence.wants_figures:
        with style():
            size = max(len(panel.methods) for panel, _ in maps)
            figure, axes = sheet(len(maps), 3.2 + 0.75 * size, 1.8 + 0.5 * size)
            for one, (panel, table) in zip(axes, maps, strict=True):
                _draw(one, panel, table, evidence.options.alpha)
        figures["significance"] = figure
    return Outcome("significance", claim, sections, figures)


def compare_pairs(panel: Panel, options: Options) -> pd.DataFrame:
    """Return one row a pair of methods, with p adjusted over the pairs of this panel."""
    means = panel.case_means
    rows = []
    for first, second in panel.pairs:
        test = compare_cases(means[first] - means[second], alpha=options.alpha, seed=options.seed)
        names = {"first": panel.methods[first], "second": panel.methods[second]}
        rows.append({**names, **asdict(test)})
    table = pd.DataFrame(rows)
    return table.assign(p_adjusted=CORRECTIONS[options.correction](table["p"]))


def _draw(axes: Axes, panel: Panel, table: pd.DataFrame, alpha: float) -> None:
    """Draw adjusted p of each pair; the row's method is better where the colour is blue."""
    size = len(panel.methods)
    adjusted = square(panel.pairs, table["p_adjusted"].to_numpy(float), size)
    # The direction of the test, which outliers may put against that of the means.
    larger = np.sign(
        np.nan_to_num(square(panel.pairs, table["rank_biserial"].to_numpy(float), size))
    )
    larger = np.triu(larger) - np.tril(larger)
    better = larger if panel.higher_is_better else -larger
    clear = np.where(adjusted < alpha, better, 0.0)
    words = np.array(
        [["" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}" for p in row]
         for row in adjusted]
    )  # fmt: skip
    sns.heatmap(
        clear, annot=words, fmt="", cmap=["#f0b48a", "#eeeeee", "#8fbfe0"], vmin=-1, vmax=1,
        cbar=False, linewidths=0.5, ax=axes, annot_kws={"fontsize": 8, "color": "#1b1f23"},
        xticklabels=panel.methods, yticklabels=panel.methods,
    )  # fmt: skip
    axes.tick_params(length=0, labelsize=8)
    axes.tick_params(axis="x", rotation=30)
    axes.tick_params(axis="y", rotation=0)
    titled(axes, f"{panel.title}\nadjusted p; blue: the row's method is better")
