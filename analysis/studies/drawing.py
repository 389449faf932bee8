"""The look that figures of analyses share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medssl_bench import registry
from medssl_bench.analysis.figures import BLANK, STYLE, hollow_handle
from medssl_bench.analysis.leaderboard.marks import Mark, method_marks
from medssl_bench.analysis.tables import BASELINE

PAPER: dict[str, Any] = {
    **STYLE,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}
"""As on the page, but on white: these figures go into papers."""
METRIC_NAMES = {
    "dice": "Dice",
    "nsd": "Surface Dice",
    "hd95": "HD95 (mm)",
    "hd95_pooled": "Pooled HD95 (mm)",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the common style."""
    look: Any = {**sns.axes_style("ticks"), **PAPER}
    with mpl.rc_context(look):
        yield


def sheet(rows: int, width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``rows x columns`` axes, each of ``width`` by ``height`` inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def titled(axes: Axes, title: str) -> None:
    """Set the title and take the frame's right and upper side away."""
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold", wrap=True)
    sns.despine(ax=axes)


def marks_of(methods: Iterable[str]) -> Mapping[str, Mark]:
    """Return each method's mark, the same as on the leaderboard."""
    return method_marks(methods, list(registry.methods.entries()), BASELINE)


HOLLOW = "hollow: no interval"
ELLIPSIS = "\u2026"
BESIDE = 1.8
"""Width of a legend's names beside its axes, in inches."""
SMALL = 7.5
"""Font size of legends below a figure, in points."""
ROOM = 0.9
"""Share of a figure's width that they may take: a browser's font is wider than the one measured."""


def points(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    mark: Mark,
    label: str,
    linestyle: str = "none",
) -> None:
    """Draw the points of one line with their intervals; hollow where one has none."""
    known = np.isfinite(low) & np.isfinite(high)
    axes.plot(x, y, color=mark.colour, marker=mark.marker, linestyle=linestyle, label=label)
    axes.errorbar(
        x[known], y[known], [(y - low)[known], (high - y)[known]], color=mark.colour,
        linestyle="none", capsize=2.5,
    )  # fmt: skip
    axes.plot(
        x[~known], y[~known], color=mark.colour, marker=mark.marker, linestyle="none",
        markerfacecolor=BLANK, zorder=3,
    )  # fmt: skip


def key(axes: Axes, *hollow: bool, **place: Any) -> None:
    """Add a legend; it says what hollow means where anything is."""
    handles, labels = axes.get_legend_handles_labels()
    if any(hollow):
        handles, labels = [*handles, hollow_handle()], [*labels, HOLLOW]
    if handles:
        axes.legend(handles, labels, frameon=False, **{"fontsize": 8, **place})


def legend_below(figure: Figure, handles: Mapping[str, Any], *hollow: bool) -> None:
    """Add one legend below all axes, in as many columns as its longest label allows.

    The figure grows by it, so that no axes shrink.
    """
    found = {**handles, HOLLOW: hollow_handle()} if any(hollow) else {**handles}
    if not found:
        return
    width, height = figure.get_size_inches()
    most = int(72 * ROOM * width / SMALL)
    labels = [one if len(one) <= most else one[: most - 1] + ELLIPSIS for one in found]
    # A leading underscore would hide a label; a zero-width space before it keeps it.
    labels = [f"\u200b{label}" if label.startswith("_") else label for label in labels]
    for columns in range(min(len(found), 4), 0, -1):
        legend = figure.legend(
            [*found.values()], labels, loc="outside lower center", ncols=columns, frameon=False,
            handlelength=3.4,
            fontsize=SMALL,
        )  # fmt: skip
        box = legend.get_window_extent()
        if box.width < ROOM * figure.bbox.width or columns == 1:
            figure.set_size_inches(width, height + box.height / figure.dpi)
            return
        legend.remove()


def key_below(figure: Figure, axes: Sequence[Axes], *hollow: bool) -> None:
    """Add one legend of what all axes name; a name must look alike in each of them."""
    handles: dict[str, Any] = {}
    for one in axes:
        drawn, names = one.get_legend_handles_labels()
        handles = {**dict(zip(names, drawn, strict=True)), **handles}
    legend_below(figure, handles, *hollow)


def variants(methods: Mapping[str, str]) -> dict[str, int]:
    """Number the labels of each method from 0: one method may be there by several pretrainings."""
    seen: dict[str, int] = {}
    found = {}
    for label, method in methods.items():
        found[label] = seen.get(method, 0)
        seen[method] = found[label] + 1
    return found


def wrapped(text: str, width: float, size: float) -> str:
    """Break a text into at most three lines of ``width`` inches at a font size in points."""
    letters = max(12, int(72 * width / (0.56 * size)))
    return textwrap.fill(text, letters, max_lines=3, placeholder=ELLIPSIS)


def without(table: pd.DataFrame) -> bool:
    """Tell whether any row of a table has a mean and no interval."""
    return bool((table["mean"].notna() & ~np.isfinite(table["low"] + table["high"])).any())


def intervals(
    axes: Axes,
    labels: Sequence[str],
    colours: Sequence[str],
    middle: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Draw a point with its interval for each label, the first on top; hollow without one."""
    places = np.arange(len(labels))
    known = np.isfinite(low) & np.isfinite(high)
    for place, colour in zip(places, colours, strict=True):
        if known[place]:
            axes.plot([low[place], high[place]], [place, place], color=colour, linewidth=1.8)
        inside = colour if known[place] else BLANK
        axes.plot(middle[place], place, "o", color=colour, markersize=5, markerfacecolor=inside)
    key(axes, bool((np.isfinite(middle) & ~known).any()), loc="best")
    axes.set_yticks(places, labels, fontsize=8)
    axes.locator_params(axis="x", nbins=6)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x")
