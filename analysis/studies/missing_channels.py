"""What a missing channel costs: the same networks, tested without some of a task's channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis import classification
from medssl_bench.analysis.leaderboard.marks import row_labels, short
from medssl_bench.analysis.statistics.crossed import paired_interval
from medssl_bench.analysis.statistics.panel import HIGHER_IS_BETTER, Panel, panels
from medssl_bench.analysis.studies.drawing import (
    BESIDE,
    METRIC_NAMES,
    marks_of,
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
)
from medssl_bench.analysis.tables import COMPARABLE, IDENTITY, as_words, rows_of

CLAIM = (
    "Every network again without some of the channels it was trained on; in their place stands the"
    " method's template of the contrast where `filled` says so, else 0, the value of the"
    " background. `change` is without minus with all channels, on the same draws, seeds and cases,"
    " with its interval over draws and cases (of one draw: over cases alone)."
)
SHOWN = {
    "method": "{method}",
    "without": "{without}",
    "filled": "{filled}",
    "value": "{value}",
    "change": "{change} [{low}, {high}]",
}
LACKING = (
    "no record tells of missing channels: run with `--set missing_channels=each` (tasks of several"
    " channels; cells recorded without it are not run again)"
)


def analyse(evidence: Evidence) -> Outcome:
    """Compare every set of missing channels with none missing, by task and shots."""
    missing = evidence.records.missing
    sections, drawn = [], []
    if not missing.empty:
        tested = evidence.records.cases[evidence.records.cases["key"].isin(missing["key"])]
        sections += [
            *_segmented(evidence, missing, tested),
            *_classified(evidence, missing, tested),
        ]
        drawn = [section for section in sections if len(section.table)]
    if not sections:
        nothing = Section("missing channels", pd.DataFrame(), reason=LACKING)
        return Outcome("missing-channels", CLAIM, [nothing])
    if not (drawn and evidence.wants_figures):
        return Outcome("missing-channels", CLAIM, sections)
    with style():
        figure, axes = sheet(len(drawn), 7.0, 3.0)
        for one, section in zip(axes, drawn, strict=True):
            _draw(one, section, evidence.options.metric)
    return Outcome("missing-channels", CLAIM, sections, {"missing-channels": figure})


def _segmented(
    evidence: Evidence, missing: pd.DataFrame, tested: pd.DataFrame
) -> Iterator[Section]:
    options = evidence.options
    rows = _asked(missing[~classification.is_classified(missing)], options)

    def found(cases: pd.DataFrame) -> dict[str, Panel]:
        return {panel.title: panel for panel in panels(cases, options.metric)}

    level = 1 - options.alpha
    tables: dict[str, list[dict[str, object]]] = {}
    notes: dict[str, dict[str, None]] = {}
    for without, part in rows.groupby("without", sort=False):
        whole = found(tested[tested["key"].isin(part["key"])])
        for title, other in found(part.drop(columns="without")).items():
            filled = _filling(part, other)
            changes = _changes(whole[title], other, str(without), filled, level)
            tables.setdefault(title, []).extend(changes)
            notes.setdefault(title, {}).update(dict.fromkeys(panel_notes(other)))
    for title, table in tables.items():
        yield Section(title, pd.DataFrame(table), SHOWN, [*notes[title]], digits_of(options.metric))


def _asked(rows: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Keep the rows of the task and shots that are asked for."""
    for word in ("task", "shots"):
        chosen = getattr(options, word)
        rows = rows if chosen is None else rows[rows[word].astype(str) == chosen]
    return rows


def _changes(
    panel: Panel, other: Panel, without: str, filled: Mapping[str, str], level: float
) -> Iterator[dict[str, object]]:
    """Yield a row for each method, the difference taken case by case and draw by draw.

    Both panels are of the same runs and cases, for which targets a case has does not depend on what
    the network was shown.
    """
    assert (panel.methods, panel.draws, panel.cases) == (other.methods, other.draws, other.cases)
    for place, label in enumerate(panel.methods):
        change = paired_interval(other.crossed[place] - panel.crossed[place], level=level)
        yield {
            "method": label,
            "name": panel.identities[place]["method"],
            "without": without,
            "filled": filled[label],
            "value": float(other.means[place]),
            "whole": float(panel.means[place]),
            "change": change.mean,
            "low": change.low,
            "high": change.high,
        }


def _filling(rows: pd.DataFrame, panel: Panel) -> dict[str, str]:
    """Return what stood in the place of the channels, by the label of the method."""
    words = as_words(rows, IDENTITY)
    found = {}
    for label, identity in zip(panel.methods, panel.identities, strict=True):
        mine = words[(words[IDENTITY] == pd.Series(identity)[IDENTITY]).all(axis=1)]
        found[label] = ", ".join(sorted(mine["filled"].unique()))
    return found


def _classified(
    evidence: Evidence, missing: pd.DataFrame, tested: pd.DataFrame
) -> Iterator[Section]:
    """Yield AUC with and without; one number a run, so no interval over cases."""
    rows = _asked(missing[classification.is_classified(missing)], evidence.options)
    if rows.empty:
        return
    keys = ["task", "shots", *IDENTITY]
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for without, part in rows.groupby("without", sort=False):
        board = classification.leaderboard(tested[tested["key"].isin(part["key"])])
        whole = board.set_index(keys)["auc"]
        words = as_words(part, keys).groupby(keys)["filled"].unique()
        for row in rows_of(classification.leaderboard(part.drop(columns="without"))):
            key = tuple(row[name] for name in keys)
            found.setdefault(tuple(row[name] for name in COMPARABLE), []).append(
                {
                    **{name: row[name] for name in IDENTITY},
                    "name": row["method"], "without": str(without),
                    "filled": ", ".join(words[key]), "value": float(row["auc"]),
                    "whole": float(whole[key]), "change": float(row["auc"] - whole[key]),
                    "low": np.nan, "high": np.nan,
                }
            )  # fmt: skip
    note = ["AUC is one number of all cases: its change has no interval over them"]
    for (task, shots, backbone, protocol, profile), mine in found.items():
        identities = [{name: one[name] for name in IDENTITY} for one in mine]
        labels = row_labels(identities)
        table = pd.DataFrame(mine).assign(method=labels).drop(columns=IDENTITY[1:])
        title = f"{task}, shots {shots}, {backbone}, {profile}, protocol {short(protocol)}, AUC"
        yield Section(title, table, SHOWN, note, 3)


def _draw(axes: Axes, section: Section, metric: str) -> None:
    """Draw each method's value without each set of channels, and a tick where all are there."""
    table = section.table
    sets = list(dict.fromkeys(table["without"]))
    methods = list(dict.fromkeys(table["method"]))
    marks = marks_of(table["name"])
    shifts = np.linspace(-0.3, 0.3, len(methods)) if len(methods) > 1 else [0.0]
    for method, shift in zip(methods, shifts, strict=True):
        mine = table[table["method"] == method]
        mark = marks[mine["name"].iloc[0]]
        places = np.array([sets.index(one) for one in mine["without"]]) + shift
        value, whole = mine["value"].to_numpy(float), mine["whole"].to_numpy(float)
        ends = np.abs(mine[["low", "high"]].to_numpy(float).T + whole - value)
        axes.errorbar(
            places, value, np.nan_to_num(ends), color=mark.colour, marker=mark.marker,
            linestyle="none", markersize=5, capsize=2, elinewidth=0.9,
            label=wrapped(method, BESIDE, 7),
        )  # fmt: skip
        axes.plot(places, whole, "_", color=mark.colour, markersize=9, markeredgewidth=2)
    axes.set_xticks(range(len(sets)), [f"without\n{one}" for one in sets])
    auc = section.title.endswith("AUC")
    axes.set_ylabel("AUC" if auc else METRIC_NAMES.get(metric, metric))
    if not auc and HIGHER_IS_BETTER[metric]:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.plot([], [], "_", color="#1b1f23", markersize=9, markeredgewidth=2, label="all channels")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    titled(axes, section.title)
