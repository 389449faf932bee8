"""How sure is the ranking? Intervals and tiers from adjusted pairs, stability by resampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl_bench.analysis.statistics.answer import OF_DIFFERENCES, settled
from medssl_bench.analysis.statistics.bootstrap import percentile_interval, resampled_means
from medssl_bench.analysis.statistics.crossed import p_values
from medssl_bench.analysis.statistics.multiplicity import holm
from medssl_bench.analysis.statistics.paired import rank_biserial, wilcoxon
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.statistics.ranks import (
    Ranking,
    kendall_tau,
    rank_methods,
    ranks_of,
    square,
)
from medssl_bench.analysis.studies.drawing import intervals, marks_of, sheet, style, titled
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
    "method": "{method}",
    "mean": "{mean}",
    "rank": "{rank}",
    "interval": "{low}-{high}",
    "tier": "{tier}",
    "by resampling": "{bootstrap_low}-{bootstrap_high}",
    "best in": "{best}",
}


def analyse(evidence: Evidence) -> Outcome:
    """Rank the methods of each task and shots."""
    options, sections, drawn = evidence.options, [], []
    for panel in (one.best_first() for one in evidence.panels()):
        if (none := too_few(panel)) is not None:
            sections.append(none)
            continue
        table, tau = rank(panel, options)
        notes = [
            *panel_notes(panel),
            "intervals and tiers from " + _source(panel),
            f"Kendall's tau with the rankings of {options.resamples} resamples: {tau}",
        ]
        sections.append(Section(panel.title, table, SHOWN, notes, digits_of(panel.metric)))
        drawn.append((panel, table))
    claim = (
        f"Ranks by mean {options.metric}, 1 is best. An interval holds the true rank as far as the"
        " adjusted pairwise tests tell methods apart, all intervals of a table together; a tier"
        " starts at a method that is worse than the first of the tier before. `by resampling` is"
        " each method's alone, and narrower."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            most = max(len(table) for _, table in drawn)
            figure, axes = sheet(len(drawn), 5.5, 1.2 + 0.3 * most)
            for one, (panel, table) in zip(axes, drawn, strict=True):
                marks = marks_of([identity["method"] for identity in panel.identities])
                colours = [marks[identity["method"]].colour for identity in panel.identities]
                intervals(
                    one, list(panel.methods), colours,
                    *(table[name].to_numpy(float) for name in ("rank_value", "low", "high")),
                )  # fmt: skip
                one.set_xticks(range(1, len(table) + 1))
                one.set_xlabel("Rank")
                titled(one, panel.title)
        figures["ranks"] = figure
    return Outcome("ranks", claim, sections, figures)


def rank(panel: Panel, options: Options) -> tuple[pd.DataFrame, str]:
    """Return one row a method, and Kendall's tau as text."""
    sign = 1 if panel.higher_is_better else -1
    ranking = rank_by_tests(panel, options.alpha)
    sample = ranks_of(sign * resampled_means(panel.values, options.resamples, options.seed))
    low, high = percentile_interval(sample, 1 - options.alpha)
    first = (sample == sample.min(axis=1, keepdims=True)).mean(axis=0)
    table = pd.DataFrame(
        {
            "method": panel.methods,
            "mean": panel.means,
            "rank": [_rank(value) for value in ranking.rank],
            "rank_value": ranking.rank,
            "low": ranking.low,
            "high": ranking.high,
            "tier": ranking.tier,
            "bootstrap_low": [_rank(value) for value in low],
            "bootstrap_high": [_rank(value) for value in high],
            "best": [f"{share:.0%}" for share in first],
        }
    )
    return table, _tau(kendall_tau(-ranking.rank, -sample))


def rank_by_tests(panel: Panel, alpha: float = 0.05) -> Ranking:
    """Rank the methods of a panel; what tells two apart is the test of all pairs, by Holm."""
    first, second = np.array(panel.pairs, int).reshape(-1, 2).T
    if len(panel.cases) < 2:
        adjusted = np.full(len(first), np.nan)
    elif len(panel.draws) > 1:
        # Differences that are all equal have no p, and the two are not told apart.
        adjusted = holm(p_values(panel.crossed[first] - panel.crossed[second]))
    else:
        means = panel.case_means
        differences = settled(means[first] - means[second], OF_DIFFERENCES)
        p = np.full(len(differences), np.nan)
        moved = differences.any(axis=1)
        if moved.any():
            p[moved] = wilcoxon(differences[moved])
        # A few outliers may put the means, by which methods are ranked, against the test's ranks.
        ordered = np.sign(rank_biserial(differences)) == np.sign(differences.mean(axis=1))
        adjusted = np.where(ordered, holm(p), np.nan)
    told = square(panel.pairs, adjusted, len(panel.methods))
    return rank_methods(panel.means, told, alpha=alpha, higher_is_better=panel.higher_is_better)


def _tau(values: NDArray[np.float64]) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "not computable: all methods tie"
    low, high = np.quantile(known, [0.025, 0.975])
    return f"mean {known.mean():.2f}, 95 % within {low:.2f} to {high:.2f}"


def _source(panel: Panel) -> str:
    if len(panel.draws) > 1:
        return "the draw x case test: a statement about training again"
    return (
        "Wilcoxon by case, as there is one draw: a statement about these checkpoints; two methods"
        " that it orders against their means are not told apart"
    )


def _rank(value: float) -> str:
    return f"{value:g}"
