"""The look that figures of analyses share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medssl_bench import registry
from medssl_bench.analysis.figures import STYLE
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


def intervals(
    axes: Axes,
    labels: Sequence[str],
    colours: Sequence[str],
    middle: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Draw a point with its interval for each label, the first on top."""
    places = np.arange(len(labels))
    for place, colour in zip(places, colours, strict=True):
        if np.isfinite([low[place], high[place]]).all():
            axes.plot([low[place], high[place]], [place, place], color=colour, linewidth=1.8)
        axes.plot(middle[place], place, "o", color=colour, markersize=5)
    axes.set_yticks(places, labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x")
