"""Does the choice of a definition decide the ranking? HD95 three ways, absent targets two ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medssl_bench.analysis.leaderboard.marks import DASHES
from medssl_bench.analysis.statistics.panel import HIGHER_IS_BETTER, Panel, panels
from medssl_bench.analysis.statistics.ranks import ranks_of
from medssl_bench.analysis.studies.drawing import (
    BESIDE,
    marks_of,
    sheet,
    style,
    titled,
    variants,
    wrapped,
)
from medssl_bench.analysis.studies.outcome import (
    Evidence,
    Outcome,
    Section,
    digits_of,
    panel_notes,
    too_few,
)

FAMILIES = {"Dice": ("dice",), "HD95": ("hd95", "hd95_pooled", "hd95_surfel")}
"""Metrics of one name, the adopted definition first; those that the records hold are compared."""

CLAIM = (
    "Ranks by the mean, 1 is best, under every definition. `absent` counts targets that the"
    " reference lacks: perfect where none is predicted (Dice 1, distance 0), worst where one is"
    " (Dice 0, the image's diagonal); otherwise they are left out. A pair that flips says that the"
    " definition decides between the two; how sure either order is, `ranks` says."
)


@dataclass(frozen=True)
class Rule:
    """A definition of the metric, and whether absent targets count."""

    metric: str
    absent: bool = False

    @property
    def name(self) -> str:
        """As it stands at the head of a column."""
        return f"{self.metric}, absent" if self.absent else self.metric

    @property
    def key(self) -> str:
        """The same as the name of a column."""
        return f"{self.metric}_absent" if self.absent else self.metric


def analyse(evidence: Evidence) -> Outcome:
    """Rank the methods of each task and shots under every rule."""
    options, sections, drawn = evidence.options, [], []
    cases = evidence.records.segmented
    for family, metrics in FAMILIES.items():
        measured = [metric for metric in metrics if metric in cases]
        rules = [Rule(metric, absent) for metric in measured for absent in (False, True)]
        by_rule = [
            {
                panel.title: panel
                for panel in panels(
                    cases, rule.metric, task=options.task, shots=options.shots, absent=rule.absent
                )
            }
            for rule in rules
        ]
        for title, adopted in by_rule[0].items():
            if (none := too_few(adopted)) is not None:
                sections.append(none)
                continue
            known = {
                rule: found[title]
                for rule, found in zip(rules, by_rule, strict=True)
                if title in found
            }
            table = rank_under(known)
            shown = {"method": "{method}"} | {
                rule.name: f"{{{rule.key}_rank}} ({{{rule.key}}})" for rule in known
            }
            notes = [*panel_notes(adopted), *said(table, list(known))]
            name = f"{title}: {family}"
            sections.append(Section(name, table, shown, notes, digits_of(adopted.metric)))
            drawn.append((name, table, known))
    figures = {}
    if drawn:
        with style():
            figure, axes = sheet(len(drawn), 6.0, 2.2)
            for one, (name, table, known) in zip(axes, drawn, strict=True):
                _draw(one, table, known)
                titled(one, name)
        figures["definitions"] = figure
    return Outcome("definitions", CLAIM, sections, figures)


def _draw(axes: Axes, table: pd.DataFrame, known: Mapping[Rule, Panel]) -> None:
    """Draw each method's rank under each rule; lines that cross are flips."""
    panel = next(iter(known.values()))
    own = {
        label: identity["method"]
        for label, identity in zip(panel.methods, panel.identities, strict=True)
    }
    marks, variant = marks_of(own.values()), variants(own)
    places = range(len(known))
    for row in table.to_dict("records"):
        label = str(row["method"])
        mark = marks[own[label]]
        axes.plot(
            places, [float(row[f"{rule.key}_rank"]) for rule in known], marker=mark.marker,
            color=mark.colour, linestyle=DASHES[variant[label] % len(DASHES)],
            label=wrapped(label, BESIDE, 7),
        )  # fmt: skip
    axes.set_xticks(places, [rule.name.replace(", ", ",\n") for rule in known], fontsize=8)
    axes.set_yticks(range(1, len(table) + 1))
    axes.invert_yaxis()
    axes.set_ylabel("Rank")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def rank_under(known: Mapping[Rule, Panel]) -> pd.DataFrame:
    """Return the mean (column ``key``) and the rank (``key_rank``) of each method under each rule.

    One row a method that every panel holds, best under the first rule first.
    """
    first, *others = known.values()
    names = [
        one for one in first.best_first().methods if all(one in other.methods for other in others)
    ]
    table = pd.DataFrame({"method": names})
    for rule, panel in known.items():
        means = panel.means[[panel.methods.index(name) for name in names]]
        table[rule.key] = means
        ranks = ranks_of(means if HIGHER_IS_BETTER[rule.metric] else -means)
        table[f"{rule.key}_rank"] = [f"{rank:g}" for rank in ranks]
    return table


def flipped(first: NDArray[np.float64], other: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs of places whose order two rankings ``(methods,)`` see the other way round.

    The better of the first ranking stands first. A tie in either is no flip.
    """
    before = first[:, None] < first[None, :]
    behind = other[:, None] > other[None, :]
    return [(int(a), int(b)) for a, b in np.argwhere(before & behind)]


def said(table: pd.DataFrame, rules: Sequence[Rule]) -> list[str]:
    """Say for each rule but the first which pairs it flips."""
    first, *others = ([float(rank) for rank in table[f"{rule.key}_rank"]] for rule in rules)
    lines = []
    for rule, ranks in zip(rules[1:], others, strict=True):
        pairs = flipped(np.array(first), np.array(ranks))
        names = [f"{table['method'][a]} / {table['method'][b]}" for a, b in pairs]
        lines.append(f"{rules[0].name} against {rule.name}: {', '.join(names) or 'no pair flips'}")
    return lines
