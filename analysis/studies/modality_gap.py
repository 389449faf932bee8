"""CT minus MRI by organ group and method, and the method x modality interaction (004, Fig. 4).

Where the patients of the two tasks differ nothing is paired; where the case ids are the same, cases
are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.protocols import trained_alike
from medssl_bench.analysis.statistics.answer import settled
from medssl_bench.analysis.statistics.crossed import compare_drawn
from medssl_bench.analysis.statistics.independent import compare_groups
from medssl_bench.analysis.statistics.multiplicity import CORRECTIONS
from medssl_bench.analysis.statistics.paired import compare_checkpoints
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies.drawing import (
    METRIC_NAMES,
    intervals,
    marks_of,
    sheet,
    style,
    titled,
)
from medssl_bench.analysis.studies.groups import group_tables
from medssl_bench.analysis.studies.outcome import Evidence, Outcome, Section, digits_of
from medssl_bench.analysis.tables import BASELINE, shots_order

Crossed = NDArray[np.float64]
Place = tuple[Panel, int]
"""A method in the panel that it was compared in."""

SHOWN = {
    "group": "{group}",
    "method": "{method}",
    "CT": "{ct}",
    "MRI": "{mri}",
    "CT - MRI": "{mean} [{low}, {high}]",
    "p": "{p}",
    "adjusted": "{p_adjusted}",
    f"gap minus {BASELINE}'s": "{interaction} [{interaction_low}, {interaction_high}]",
    "interaction p": "{p_interaction}",
    "adjusted ": "{p_interaction_adjusted}",
    "test": "{test}",
}


@dataclass(frozen=True)
class Difference:
    """One difference between modalities with its interval, and how it was tested."""

    mean: float
    low: float
    high: float
    p: float
    test: str
    reason: str = ""


def analyse(evidence: Evidence) -> Outcome:
    """Compare each CT task with each MRI task that shares a group of targets."""
    groups, tuning = group_tables(evidence), trained_alike(evidence.records.records)
    modality = _modalities(evidence.records)
    pairs = product(*([task for task in groups if modality[task] == one] for one in ("CT", "MRI")))
    sections, drawn = [], []
    for ct, mri in pairs:
        for title, rows in _rows(evidence, groups, tuning, ct, mri).items():
            table = pd.DataFrame(rows)
            correct = CORRECTIONS[evidence.options.correction]
            table["p_adjusted"] = correct(table["p"])
            table["p_interaction_adjusted"] = correct(table["p_interaction"])
            digits = digits_of(evidence.options.metric)
            sections.append(Section(title, table, SHOWN, _notes(rows), digits))
            drawn.append((title, table))
    if not sections:
        reason = (
            "no CT task and MRI task with a common organ group were run by one method and tuning"
        )
        sections = [Section("modality gap", pd.DataFrame(), reason=reason)]
    claim = (
        f"Mean {evidence.options.metric} on CT minus MRI over the group's targets; intervals over"
        " draws and test cases, adjusted over the rows of a table. The interaction asks whether a"
        f" method's gap differs from that of {BASELINE}, the network without pretraining: a gap"
        " alone may be the data's."
    )
    figures = {}
    if drawn and evidence.wants_figures:
        with style():
            most = max(len(table) for _, table in drawn)
            figure, axes = sheet(len(drawn), 6.5, 1.2 + 0.24 * most)
            for one, (title, table) in zip(axes, drawn, strict=True):
                marks = marks_of(table["name"])
                intervals(
                    one,
                    [f"{row.group}: {row.method}" for row in table.itertuples()],
                    [marks[name].colour for name in table["name"]],
                    *(table[name].to_numpy(float) for name in ("mean", "low", "high")),
                )
                one.axvline(0, color="#1b1f23", linewidth=0.8)
                one.set_xlabel(f"{METRIC_NAMES[evidence.options.metric]}, CT \u2212 MRI")
                titled(one, title)
        figures["modality-gap"] = figure
    return Outcome("modality-gap", claim, sections, figures)


def _modalities(results: Results) -> dict[str, str]:
    known = {}
    for record in results.records:
        word = str(record["settings"].get("task", {}).get("modality", "")).upper()
        known[record["cell"]["task"]] = "MRI" if word.startswith("MR") else word
    return known


def _rows(
    evidence: Evidence,
    groups: Mapping[str, Mapping[str, tuple[str, ...]]],
    tuning: Mapping[str, str],
    ct: str,
    mri: str,
) -> dict[str, list[dict[str, object]]]:
    """Return a table's rows by its title: what both tasks were run with."""
    rows: dict[str, list[dict[str, object]]] = {}
    for group in [name for name in groups[ct] if name in groups[mri]]:
        sides = [
            {
                (panel.shots, *_key(identity, tuning)): (panel, place)
                for panel in asked.panels(targets=groups[task][group])
                for place, identity in enumerate(panel.identities)
            }
            for task in (ct, mri)
            for asked in [evidence.asked(replace(evidence.options, task=task))]
        ]
        common = [key for key in sides[0] if key in sides[1]]
        common.sort(key=lambda one: shots_order(one[0]))
        places = [(sides[0][key], sides[1][key]) for key in common]
        made = _compared(places, evidence.options.alpha)
        for (shots, *_), ((panel, place), _), row in zip(common, places, made, strict=True):
            identity = panel.identities[place]
            title = f"{ct} against {mri}, shots {shots}, {identity['backbone']},"
            title += f" {identity['profile']}, tuning {tuning[identity['protocol']][:8]}"
            rows.setdefault(title, []).append({"group": group, **row})
    return rows


def _key(identity: Mapping[str, str], tuning: Mapping[str, str]) -> tuple[str, ...]:
    """Return what makes a method the same on two tasks: all, but of the protocol its tuning."""
    words = {**identity, "protocol": tuning[identity["protocol"]]}
    return tuple(words.values())


def _compared(places: Sequence[tuple[Place, Place]], alpha: float) -> list[dict[str, object]]:
    """Return what a row says of each method of two tasks; panels are compared whole."""
    together: dict[tuple[int, int], list[int]] = {}
    for number, ((first, _), (second, _)) in enumerate(places):
        together.setdefault((id(first), id(second)), []).append(number)
    rows: dict[int, dict[str, object]] = {}
    for numbers in together.values():
        (panel, _), (other, _) = places[numbers[0]]
        own, elsewhere = ([places[number][side][1] for number in numbers] for side in (0, 1))
        rows |= zip(numbers, _compare_panels(panel, own, other, elsewhere, alpha), strict=True)
    return [rows[number] for number in range(len(places))]


def _compare_panels(
    panel: Panel, own: Sequence[int], other: Panel, elsewhere: Sequence[int], alpha: float
) -> list[dict[str, object]]:
    """Compare methods of a CT panel with the same ones, by their places, of an MRI panel."""
    paired = panel.cases == other.cases
    ct, mri = panel.crossed[own], other.crossed[elsewhere]
    gaps = compare_modalities(ct, mri, paired=paired, alpha=alpha)
    base = _baseline(panel), _baseline(other)
    names = [panel.identities[place]["method"] for place in own]
    if base[0] is None or base[1] is None:
        interactions = [_nothing(f"{BASELINE} was not run on both")] * len(names)
    else:
        interactions = compare_modalities(ct - base[0], mri - base[1], paired=paired, alpha=alpha)
    this = _nothing(f"this is {BASELINE}")
    rows: list[dict[str, object]] = []
    for number, (place, name, gap) in enumerate(zip(own, names, gaps, strict=True)):
        interaction = this if name == BASELINE else interactions[number]
        rows.append(
            {
                "method": panel.methods[place],
                "name": name,
                "ct": float(ct[number].mean()),
                "mri": float(mri[number].mean()),
                "mean": gap.mean,
                "low": gap.low,
                "high": gap.high,
                "p": gap.p,
                "interaction": interaction.mean,
                "interaction_low": interaction.low,
                "interaction_high": interaction.high,
                "p_interaction": interaction.p,
                "test": gap.test,
                "reason": gap.reason,
            }
        )
    return rows


def _baseline(panel: Panel) -> Crossed | None:
    for place, identity in enumerate(panel.identities):
        if identity["method"] == BASELINE:
            return panel.crossed[place]
    return None


def _nothing(reason: str) -> Difference:
    return Difference(np.nan, np.nan, np.nan, np.nan, "", reason)


def compare_modalities(
    ct: Crossed, mri: Crossed, *, paired: bool, alpha: float
) -> list[Difference]:
    """Compare ``(methods, draws, cases)`` of two tasks, method by method.

    ``paired`` says that the cases are the same patients. Different patients: Welch over draws and
    cases. The same patients: the draw x case test of their differences, or with one draw or unequal
    draws the Wilcoxon test of case means.
    """
    if not paired:
        test, answers = "unpaired, Welch", compare_groups(ct, mri, alpha=alpha)
    elif ct.shape[1] == mri.shape[1] > 1:
        test, answers = "paired, draws x cases", compare_drawn(ct - mri, alpha=alpha)
    else:
        cases = settled(ct.mean(axis=1) - mri.mean(axis=1))
        return [
            Difference(mean, np.nan, np.nan, one.p, "paired, Wilcoxon by case", one.reason)
            for mean, one in zip(
                cases.mean(axis=1).tolist(), compare_checkpoints(cases), strict=True
            )
        ]
    return [Difference(x.difference, x.low, x.high, x.p, test, x.reason) for x in answers]


def _notes(rows: list[dict[str, object]]) -> list[str]:
    reasons = {str(row["reason"]) for row in rows if row["reason"]}
    return [f"not computable in some rows: {reason}" for reason in sorted(reasons)]
