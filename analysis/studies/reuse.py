"""Feature reuse (paper 004, 5.6, Fig. 8): CKA of each layer before against after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medssl_bench.analysis.leaderboard.marks import DASHES, row_labels, short
from medssl_bench.analysis.similarity import consistency
from medssl_bench.analysis.studies.drawing import (
    legend_below,
    marks_of,
    sheet,
    style,
    titled,
    variants,
    wrapped,
)
from medssl_bench.analysis.studies.outcome import Evidence, Options, Outcome, Section
from medssl_bench.analysis.tables import COMPARABLE, IDENTITY, as_words, shots_order
from medssl_bench.errors import BenchError, did_you_mean

LACKING = "the records hold no {what}; cells run with `similarity: true` have it"
SETUP = [name for name in COMPARABLE if name != "shots"]
RUN = ["draw", "seed"]


@dataclass(frozen=True)
class Reused:
    """One method at one number of shots."""

    label: str
    method: str
    shots: str
    layers: tuple[str, ...]
    matrices: NDArray[np.float64]
    """CKA ``(runs, layers before, layers after)``."""

    @property
    def diagonals(self) -> NDArray[np.float64]:
        """CKA of each layer with itself, ``(runs, layers)``."""
        return np.diagonal(self.matrices, axis1=1, axis2=2)

    @property
    def profile(self) -> NDArray[np.float64]:
        """Mean over runs of each layer, ``(layers,)``."""
        return np.asarray(self.diagonals.mean(axis=0))


def analyse(evidence: Evidence) -> Outcome:
    """Describe the reuse of every layer, and how alike it is between shots."""
    sections: list[Section] = []
    figures: dict[str, Figure] = {}
    drawn = []
    for title, notes, found in reuse(evidence.records.similarity, evidence.options):
        layers = found[0].layers
        shown = {"method": "{method}", "shots": "{shots}", "runs": "{runs}", "mean": "{mean}"}
        shown |= {str(place): f"{{layer_{place}}}" for place in range(1, len(layers) + 1)}
        names = ", ".join(f"{place} {layer}" for place, layer in enumerate(layers, 1))
        notes = [*notes, f"layers: {names}"]
        sections.append(Section(f"{title}: CKA by layer", profiles(found), shown, notes, 2))
        table = consistencies(found)
        reason = "" if len(table) else "no method was run with two numbers of shots"
        sections.append(
            Section(f"{title}: consistency between shots", table, CONSISTENT, reason=reason)
        )
        drawn.append((title, found))
    if not drawn:
        reason = LACKING.format(what="similarity")
        return Outcome("cka", CLAIM, [Section("cka", pd.DataFrame(), reason=reason)])
    if evidence.wants_figures:
        with style():
            figures["cka"] = _draw_profiles(drawn)
            for number, (title, found) in enumerate(drawn, 1):
                figures[f"cka-matrices-{number}"] = _draw_matrices(title, found)
    return Outcome("cka", CLAIM, sections, figures)


CLAIM = (
    "CKA of what a layer puts out before and after fine-tuning, on crops of test cases; 1: kept but"
    " for rotation and scale, 0: unrelated. Unbiased, so values below 0 are chance. Means over"
    " runs. Scratch is compared with its own random start. Consistency is 1 - the mean absolute"
    " difference of CKA over layers and pairs of shots; `between draws` is the same between runs of"
    " one number of shots, which is what chance alone does."
)
CONSISTENT = {
    "method": "{method}",
    "shots": "{shots}",
    "consistency": "{consistency}",
    "between draws": "{between_runs}",
    "pattern (r)": "{correlation}",
}


def reuse(table: pd.DataFrame, options: Options) -> list[tuple[str, list[str], list[Reused]]]:
    """Return title, notes and methods of each task and setup that can be compared.

    Raises:
        BenchError: A task or shots that no record with similarity has.
    """
    if table.empty:
        return []
    words = only(as_words(table, [*COMPARABLE, *IDENTITY, *RUN]), options)
    parts = []
    for key, rows in words.groupby(SETUP, sort=True):
        setup = dict(zip(SETUP, map(str, key), strict=True))
        notes = [
            f"{n} crops in groups of {group}"
            for n, group in rows[["n", "group"]].drop_duplicates().itertuples(index=False)
        ]
        if len(notes) > 1:
            notes.append("measured on different numbers of crops: compare with care")
        dead = rows[rows["cka"].isna() & (rows["layer_a"] == rows["layer_b"])]
        notes += [
            f"{method}, shots {shots}: {layer} puts out the same for every crop, so it has no CKA"
            for method, shots, layer in dead[["method", "shots", "layer_a"]]
            .drop_duplicates()
            .itertuples(index=False)
        ]
        parts.append((title_of(setup), notes, _methods(rows)))
    return parts


def only(words: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Keep the task and the shots that were asked for."""
    for column, word in (("task", options.task), ("shots", options.shots)):
        if word is not None:
            known = list(words[column].unique())
            if word not in known:
                raise BenchError(
                    f"no {column} {word!r} in the records.{did_you_mean(word, known)}"
                    f" There are: {', '.join(sorted(known))}"
                )
            words = words[words[column] == word]
    return words


def title_of(setup: dict[str, str]) -> str:
    """Name a task and what it was run with."""
    return (
        f"{setup['task']}, {setup['backbone']}, {setup['profile']},"
        f" protocol {short(setup['protocol'])}"
    )


def labelled(rows: pd.DataFrame) -> list[tuple[str, str, str, pd.DataFrame]]:
    """Split rows into label, method, shots and rows of each identity, fewest shots first."""
    found = [
        (dict(zip(IDENTITY, map(str, key), strict=True)), mine)
        for key, mine in rows.groupby(IDENTITY, sort=True)
    ]
    labels = row_labels([identity for identity, _ in found])
    return [
        (label, identity["method"], str(shots), at)
        for label, (identity, mine) in zip(labels, found, strict=True)
        for shots, at in sorted(mine.groupby("shots"), key=lambda one: shots_order(str(one[0])))
    ]


def profiles(found: Sequence[Reused]) -> pd.DataFrame:
    """Return one row a method and shots: mean CKA of each layer, ``layer_1`` the first."""
    return pd.DataFrame(
        [
            {
                "method": one.label,
                "shots": one.shots,
                "runs": len(one.matrices),
                "mean": float(one.profile.mean()),
                **{f"layer_{place}": float(v) for place, v in enumerate(one.profile, 1)},
            }
            for one in found
        ]
    )


def consistencies(found: Sequence[Reused]) -> pd.DataFrame:
    """Return one row a method that was run with several numbers of shots."""
    rows = []
    for label in dict.fromkeys(one.label for one in found):
        mine = [one for one in found if one.label == label]
        if len(mine) < 2:
            continue
        table = np.stack([one.profile for one in mine])
        with np.errstate(invalid="ignore"):
            correlations = np.atleast_2d(np.corrcoef(table))[np.triu_indices(len(table), 1)]
        within = [consistency(one.diagonals) for one in mine if len(one.matrices) > 1]
        rows.append(
            {
                "method": label,
                "shots": ", ".join(one.shots for one in mine),
                "consistency": consistency(table),
                "between_runs": float(np.mean(within)) if within else np.nan,
                "correlation": float(correlations.mean()),
            }
        )
    return pd.DataFrame(rows)


def _methods(rows: pd.DataFrame) -> list[Reused]:
    layers = tuple(dict.fromkeys(rows["layer_a"]))
    found = []
    for label, method, shots, mine in labelled(rows):
        runs = [
            run.pivot(index="layer_a", columns="layer_b", values="cka")
            .loc[list(layers), list(layers)]
            .to_numpy(float)
            for _, run in mine.groupby(RUN, sort=True)
        ]
        found.append(Reused(label, method, shots, layers, np.stack(runs)))
    return found


def _draw_profiles(drawn: Sequence[tuple[str, list[Reused]]]) -> Figure:
    """One row a task, one column a number of shots, one line a method."""
    words = sorted({one.shots for _, found in drawn for one in found}, key=shots_order)
    figure, axes = sheet(len(drawn), 4.2, 3.0, len(words))
    methods = {one.label: one.method for _, found in drawn for one in found}
    marks, variant = marks_of(methods.values()), variants(methods)
    handles: dict[str, Any] = {}
    for place, panel in enumerate(axes):
        title, found = drawn[place // len(words)]
        shots = words[place % len(words)]
        here = [one for one in found if one.shots == shots]
        for one in here:
            mark, x = marks[one.method], np.arange(1, len(one.layers) + 1)
            number = variant[one.label]
            (handles[one.label],) = panel.plot(
                x, one.profile, color=mark.colour, marker=mark.marker, markersize=4,
                linestyle=DASHES[number % len(DASHES)] if number else mark.dash,
            )  # fmt: skip
            if len(one.matrices) > 1:
                spread = one.diagonals.std(axis=0, ddof=1)
                low, high = one.profile - spread, one.profile + spread
                panel.fill_between(x, low, high, color=mark.colour, alpha=0.15, linewidth=0)
        panel.set_ylim(min(0.0, panel.get_ylim()[0]), 1.03)
        panel.set_xlabel("Layer")
        panel.set_xticks(range(1, len(found[0].layers) + 1))
        panel.grid(axis="y")
        if place % len(words) == 0:
            panel.set_ylabel("CKA, before against after")
        titled(panel, f"{title.split(',')[0]}, shots {shots}")
    legend_below(figure, handles)
    return figure


def _draw_matrices(title: str, found: Sequence[Reused]) -> Figure:
    """One row a method, one column a number of shots; layers before run down."""
    labels = list(dict.fromkeys(one.label for one in found))
    words = sorted({one.shots for one in found}, key=shots_order)
    side = max(2.0, 0.16 * len(found[0].layers) + 0.8)
    figure, axes = sheet(len(labels), side, side, len(words))
    image = None
    for place, panel in enumerate(axes):
        label, shots = labels[place // len(words)], words[place % len(words)]
        here = [one for one in found if (one.label, one.shots) == (label, shots)]
        if not here:
            panel.set_axis_off()
            continue
        image = panel.imshow(
            here[0].matrices.mean(axis=0), vmin=0, vmax=1, cmap="viridis", origin="lower"
        )
        ticks = np.arange(0, len(here[0].layers), max(1, len(here[0].layers) // 5))
        panel.set_xticks(ticks, ticks + 1)
        panel.set_yticks(ticks, ticks + 1)
        panel.set_title(wrapped(f"{label}, shots {shots}", 0.8 * side, 8), fontsize=8)
        if place % len(words) == 0:
            panel.set_ylabel("Layer before")
        if place // len(words) == len(labels) - 1:
            panel.set_xlabel("Layer after")
    if image is not None:
        figure.colorbar(image, ax=axes, label="CKA", shrink=0.6)
    width = figure.get_size_inches()[0]
    figure.suptitle(wrapped(title, width, 9), fontsize=9, fontweight="bold")
    return figure
