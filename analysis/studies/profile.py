"""Beyond means: performance profiles, interquartile means, probability of improvement."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.statistics.profiles import (
    interquartile_interval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    profile_band,
)
from medssl_bench.analysis.studies.drawing import METRIC_NAMES, marks_of, sheet, style, titled
from medssl_bench.analysis.studies.outcome import (
    Evidence,
    Options,
    Outcome,
    Section,
    digits_of,
    panel_notes,
    too_few,
)

POINTS = 101
MOST_RESAMPLES = 2_000
"""Of whole distributions; means are resampled as often as is asked for."""
IQM = {"method": "{method}", "mean": "{mean}", "interquartile mean": "{iqm} [{low}, {high}]"}
BETTER = {
    "first": "{first}",
    "second": "{second}",
    "first is better": "{probability} [{low}, {high}]",
}


def analyse(evidence: Evidence) -> Outcome:
    """Describe the whole distribution of scores over draws and test cases."""
    sections, drawn = [], []
    level = 1 - evidence.options.alpha
    for panel in (one.best_first() for one in evidence.panels()):
        if not panel.methods:
            continue
        resamples = min(MOST_RESAMPLES, evidence.options.resamples)
        low, high = interquartile_interval(
            panel.crossed, level=level, resamples=resamples, seed=evidence.options.seed
        )
        flat = panel.crossed.reshape(len(panel.methods), -1)
        table = pd.DataFrame(
            {
                "method": panel.methods,
                "mean": panel.means,
                "iqm": interquartile_mean(flat),
                "low": low,
                "high": high,
            }
        )
        notes, digits = panel_notes(panel), digits_of(panel.metric)
        sections.append(Section(f"{panel.title}: interquartile mean", table, IQM, notes, digits))
        if (none := too_few(panel)) is None:
            title = f"{panel.title}: probability of improvement"
            sections.append(Section(title, _improvements(panel, level), BETTER, digits=2))
        else:
            sections.append(none)
        drawn.append(panel)
    claim = (
        "Scores of (draw, test case) pairs, seeds averaged. Interquartile means with bootstrap"
        " intervals over draws and cases; the probability that the first method is better on the"
        " same case of the same draw, ties a half."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            figure, axes = sheet(len(drawn), 5.5, 3.2)
            for one, panel in zip(axes, drawn, strict=True):
                _draw(one, panel, evidence.options)
        figures["profiles"] = figure
    return Outcome("profiles", claim, sections, figures)


def _improvements(panel: Panel, level: float) -> pd.DataFrame:
    crossed, rows = panel.crossed, []
    for first, second in panel.pairs:
        found = probability_of_improvement(
            crossed[first], crossed[second], higher_is_better=panel.higher_is_better, level=level
        )
        rows.append(
            {
                "first": panel.methods[first],
                "second": panel.methods[second],
                "probability": found.mean,
                "low": found.low,
                "high": found.high,
            }
        )
    return pd.DataFrame(rows)


def _draw(axes: Axes, panel: Panel, options: Options) -> None:
    scores = panel.crossed
    ends = (0.0, 1.0) if panel.higher_is_better else (0.0, float(scores.max()))
    thresholds = np.linspace(*ends, POINTS)
    better = panel.higher_is_better
    flat = scores.reshape(len(panel.methods), -1)
    shares = performance_profile(flat, thresholds, higher_is_better=better)
    low, high = profile_band(
        scores, thresholds, higher_is_better=better, level=1 - options.alpha,
        resamples=min(MOST_RESAMPLES, options.resamples), seed=options.seed,
    )  # fmt: skip
    names = [identity["method"] for identity in panel.identities]
    marks = marks_of(names)
    for method, name in enumerate(names):
        mark = marks[name]
        dash = ("-", "--", "-.", ":")[names[:method].count(name) % 4]
        axes.plot(
            thresholds, shares[method], color=mark.colour, linestyle=dash, linewidth=1.6,
            label=panel.methods[method],
        )  # fmt: skip
        axes.fill_between(
            thresholds, low[method], high[method], color=mark.colour, alpha=0.14, linewidth=0
        )
    axes.set_xlabel(f"{METRIC_NAMES[panel.metric]} threshold")
    axes.set_ylabel(f"Share of scores {'above' if better else 'below'}")
    axes.set_ylim(0, 1.02)
    axes.grid(axis="y")
    axes.legend(frameon=False, fontsize=8)
    titled(axes, panel.title)
