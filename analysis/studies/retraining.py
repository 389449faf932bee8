"""Would training again differ too? Every pair by the draw x case variance test, adjusted."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from medssl_bench.analysis.statistics.crossed import retraining_test
from medssl_bench.analysis.statistics.multiplicity import CORRECTIONS
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies.drawing import (
    METRIC_NAMES,
    intervals,
    sheet,
    style,
    titled,
    wrapped,
)
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
    "difference": "{mean} [{low}, {high}]",
    "p": "{p}",
    "adjusted": "{p_adjusted}",
    "freedom": "{freedom}",
    "detectable": "{detectable}",
}


def analyse(evidence: Evidence) -> Outcome:
    """Compare every pair of methods over draws and test cases."""
    sections, drawn = [], []
    for panel in (one.best_first() for one in evidence.panels()):
        if (none := too_few(panel)) is not None:
            sections.append(none)
            continue
        table = compare_pairs(panel, evidence.options)
        notes = [*panel_notes(panel), "detectable: with probability 0.8 at this spread"]
        sections.append(Section(panel.title, table, SHOWN, notes, digits_of(panel.metric)))
        drawn.append((panel, table))
    level = f"{1 - evidence.options.alpha:.0%}"
    claim = (
        f"Differences of {evidence.options.metric}, first minus second, with their {level}"
        " intervals over draws and test cases, both random (two-way variance, Satterthwaite),"
        " seeds averaged within a draw. A statement about training again, on other draws."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            named = [
                [wrapped(f"{row.first} \u2212 {row.second}", 3.0, 8) for row in table.itertuples()]
                for _, table in drawn
            ]
            lines = 1 + max(label.count("\n") for labels in named for label in labels)
            most = max(len(table) for _, table in drawn)
            figure, axes = sheet(len(drawn), 5.5 + lines, 1.2 + (0.12 + 0.14 * lines) * most)
            for one, (panel, table), labels in zip(axes, drawn, named, strict=True):
                colours = [
                    "#0173b2" if p < evidence.options.alpha else "#8a8f94"
                    for p in table["p_adjusted"]
                ]
                intervals(
                    one, labels, colours,
                    *(table[name].to_numpy(float) for name in ("mean", "low", "high")),
                )  # fmt: skip
                one.axvline(0, color="#1b1f23", linewidth=0.8)
                one.set_xlabel(
                    f"Difference of {METRIC_NAMES[panel.metric]}; blue: adjusted p < alpha"
                )
                titled(one, panel.title)
        figures["retraining"] = figure
    return Outcome("retraining", claim, sections, figures)


def compare_pairs(panel: Panel, options: Options) -> pd.DataFrame:
    """Return one row a pair of methods, with p adjusted over the pairs of this panel."""
    crossed = panel.crossed
    rows = []
    for first, second in panel.pairs:
        test = retraining_test(crossed[first] - crossed[second], alpha=options.alpha)
        names = {"first": panel.methods[first], "second": panel.methods[second]}
        rows.append({**names, **asdict(test)})
    table = pd.DataFrame(rows)
    return table.assign(p_adjusted=CORRECTIONS[options.correction](table["p"]))
