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

from medssl_bench.analysis.leaderboard.marks import short
from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.protocols import trained_alike
from medssl_bench.analysis.statistics.answer import OF_DIFFERENCES, settled
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
from medssl_bench.analysis.tables import BASELINE

Crossed = NDArray[np.float64]

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
        for title, (rows, told) in _rows(evidence, groups, tuning, ct, mri).items():
            table = pd.DataFrame(rows)
            correct = CORRECTIONS[evidence.options.correction]
            table["p_adjusted"] = correct(table["p"])
            table["p_interaction_adjusted"] = correct(table["p_interaction"])
            digits = digits_of(evidence.options.metric)
            sections.append(Section(title, table, SHOWN, _notes(rows, told), digits))
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
) -> dict[str, tuple[list[dict[str, object]], list[str]]]:
    """Return rows and notes of each table by its title: what both tasks were run with."""
    found: dict[str, tuple[list[dict[str, object]], list[str]]] = {}
    for group in [name for name in groups[ct] if name in groups[mri]]:
        sides = [
            asked.panels(targets=groups[task][group])
            for task in (ct, mri)
            for asked in [evidence.asked(replace(evidence.options, task=task))]
        ]
        alike: dict[tuple[str, ...], list[tuple[Panel, Panel]]] = {}
        for first, second in product(*sides):
            if (shared := _shared(first, tuning)) == _shared(second, tuning):
                alike.setdefault(shared, []).append((first, second))
        for shared, pairs in alike.items():
            for first, second in pairs:
                rows, notes = _compare_panels(first, second, evidence.options.alpha)
                if not rows:
                    continue
                shots, backbone, profile, digest = shared
                title = f"{ct} against {mri}, shots {shots}, {backbone}, {profile},"
                title += f" tuning {digest[:8]}"
                if len(pairs) > 1:  # one of the tasks was run in two ways that the other cannot be
                    own = [one.identities[0]["protocol"] for one in (first, second)]
                    title += f", protocols {short(own[0])} and {short(own[1])}"
                known, told = found.setdefault(title, ([], []))
                known += [{"group": group, **row} for row in rows]
                told += [f"{group}: {note}" for note in notes]
    return found


def _shared(panel: Panel, tuning: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the methods of a panel share, and must share with another task's."""
    words = panel.identities[0]
    return panel.shots, words["backbone"], words["profile"], tuning[words["protocol"]]


def _compare_panels(
    panel: Panel, other: Panel, alpha: float
) -> tuple[list[dict[str, object]], list[str]]:
    """Compare the methods that a CT panel and an MRI panel have; also what is to be said of it."""
    keys, theirs = ([_key(identity) for identity in one.identities] for one in (panel, other))
    own = [place for place, key in enumerate(keys) if key in theirs]
    alone = [label for label, key in zip(panel.methods, keys, strict=True) if key not in theirs]
    alone += [label for label, key in zip(other.methods, theirs, strict=True) if key not in keys]
    notes = [f"not in both tasks in the same way: {', '.join(alone)}"] if alone else []
    notes += [f"left out of {one.task}: {line}" for one in (panel, other) for line in one.left_out]
    if not own:
        return [], notes
    elsewhere = [theirs.index(keys[place]) for place in own]
    paired = panel.cases == other.cases
    if not paired and (both := {*panel.cases} & {*other.cases}):
        notes.append(
            f"{len(both)} of {len(panel.cases)} and {len(other.cases)} cases have the same id in"
            " both; as others do not, nothing is paired"
        )
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
                "reason_interaction": interaction.reason,
            }
        )
    return rows, notes


def _key(identity: Mapping[str, str]) -> tuple[str, ...]:
    """Return what makes a method the same on two tasks; a protocol holds its task."""
    return tuple(word for name, word in identity.items() if name != "protocol")


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
        cases = settled(ct.mean(axis=1) - mri.mean(axis=1), OF_DIFFERENCES)
        return [
            Difference(mean, np.nan, np.nan, one.p, "paired, Wilcoxon by case", one.reason)
            for mean, one in zip(
                cases.mean(axis=1).tolist(), compare_checkpoints(cases), strict=True
            )
        ]
    return [Difference(x.difference, x.low, x.high, x.p, test, x.reason) for x in answers]


def _notes(rows: Sequence[Mapping[str, object]], told: Sequence[str]) -> list[str]:
    gaps = {str(row["reason"]) for row in rows if row["reason"]}
    others = {str(row["reason_interaction"]) for row in rows if row["name"] != BASELINE} - {""}
    return [
        *(f"not computable in some rows: {reason}" for reason in sorted(gaps)),
        *(f"no interaction in some rows: {reason}" for reason in sorted(others)),
        *dict.fromkeys(told),
    ]
