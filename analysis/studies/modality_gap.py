"""CT minus MRI by organ group and method, and the method x modality interaction (004, Fig. 4).

Where the patients of the two tasks differ nothing is paired; where the case ids are the same, cases
are paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.statistics.crossed import retraining_test
from medssl_bench.analysis.statistics.independent import compare_groups
from medssl_bench.analysis.statistics.multiplicity import CORRECTIONS
from medssl_bench.analysis.statistics.paired import compare_cases
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
from medssl_bench.digest import digest
from medssl_bench.keys import common_words

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
    groups, tuning = group_tables(evidence), _tuning(evidence.records)
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
        for key in sorted(common, key=lambda one: shots_order(one[0])):
            first, second = sides[0][key], sides[1][key]
            base = [_baseline(panel) for panel, _ in (first, second)]
            identity = first[0].identities[first[1]]
            title = f"{ct} against {mri}, shots {key[0]}, {identity['backbone']},"
            title += f" {identity['profile']}, tuning {tuning[identity['protocol']][:8]}"
            rows.setdefault(title, []).append(
                _row(group, first, second, base, evidence.options.alpha)
            )
    return rows


def _key(identity: Mapping[str, str], tuning: Mapping[str, str]) -> tuple[str, ...]:
    """Return what makes a method the same on two tasks: all, but of the protocol its tuning."""
    words = {**identity, "protocol": tuning[identity["protocol"]]}
    return tuple(words.values())


def _tuning(results: Results) -> dict[str, str]:
    """Return for each protocol, which holds a task, the digest of all else that decides results.

    The task's own are its data, classes, spacing, intensities and, where fine-tuning sets none, its
    crop; so is what a method with a training of its own ``planned`` for the data.
    """
    told = {record["cell"]["protocol"]: record for record in results.records}
    return {protocol: digest(_words(record)) for protocol, record in told.items()}


def _words(record: Mapping[str, Any]) -> dict[str, Any]:
    own = record["settings"].get("own_training")
    if own is not None:
        chosen = {name: value for name, value in own.items() if name != "planned"}
        own = [chosen, record["versions"].get("method")]
    return {
        **common_words(record["settings"]),
        "metrics": record["definitions"],
        "own_training": own,
    }


def _baseline(panel: Panel) -> Crossed | None:
    for place, identity in enumerate(panel.identities):
        if identity["method"] == BASELINE:
            return panel.crossed[place]
    return None


def _row(
    group: str,
    first: tuple[Panel, int],
    second: tuple[Panel, int],
    base: list[Crossed | None],
    alpha: float,
) -> dict[str, object]:
    (panel, place), (other, elsewhere) = first, second
    ct, mri = panel.crossed[place], other.crossed[elsewhere]
    paired = panel.cases == other.cases
    gap = compare_modalities(ct, mri, paired=paired, alpha=alpha)
    nothing = Difference(np.nan, np.nan, np.nan, np.nan, "", f"{BASELINE} was not run on both")
    name = panel.identities[place]["method"]
    interaction = nothing
    if name == BASELINE:
        interaction = Difference(np.nan, np.nan, np.nan, np.nan, "", f"this is {BASELINE}")
    elif base[0] is not None and base[1] is not None:
        interaction = compare_modalities(ct - base[0], mri - base[1], paired=paired, alpha=alpha)
    return {
        "group": group,
        "method": panel.methods[place],
        "name": name,
        "ct": float(ct.mean()),
        "mri": float(mri.mean()),
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


def compare_modalities(ct: Crossed, mri: Crossed, *, paired: bool, alpha: float) -> Difference:
    """Compare ``(draws, cases)`` of two tasks; ``paired`` where the cases are the same patients.

    Different patients: Welch over draws and cases. The same patients: the draw x case test of their
    differences, or with one draw or unequal draws the Wilcoxon test of case means.
    """
    if not paired:
        found = compare_groups(ct, mri, alpha=alpha)
        return Difference(
            found.mean, found.low, found.high, found.p, "unpaired, Welch", found.reason
        )
    if len(ct) == len(mri) > 1:
        test = retraining_test(ct - mri, alpha=alpha)
        return Difference(
            test.mean, test.low, test.high, test.p, "paired, draws x cases", test.reason
        )
    cases = compare_cases(ct.mean(axis=0) - mri.mean(axis=0), alpha=alpha)
    return Difference(cases.mean, np.nan, np.nan, cases.p, "paired, Wilcoxon by case", cases.reason)


def _notes(rows: list[dict[str, object]]) -> list[str]:
    reasons = {str(row["reason"]) for row in rows if row["reason"]}
    return [f"not computable in some rows: {reason}" for reason in sorted(reasons)]
