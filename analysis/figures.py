"""Figures as SVG text: Dice against shots, and curves of loss against step.

Text stays text, so a figure is small, searchable and takes the page's colour and font.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from medssl_bench.analysis.leaderboard.marks import Mark
from medssl_bench.analysis.tables import mean_table

INK = "#1b1f23"
GRID = "#d5dae0"
BLANK = "#fffffe"
"""Inside of hollow markers; on a page its paper's colour."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medssl-bench",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.linewidth": 0.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
LEAST_SPAN = 0.1
"""A narrower axis would make noise look like a difference."""
WIDTH, HEIGHT, LEGEND_ROW = 5.0, 3.15, 0.21
"""Inches at 72 points, for a page column of 360 to 600 pixels; each row of the legend adds one."""
DPI = 72
"""Pixels of an SVG are points."""
PAD = 3.0
"""Points around a figure and its legend."""
AROUND = (39.9, 34.0, 3.0, 17.4)
"""Points that labels and title mostly take to the left, below, to the right and above."""
LEAST = 0.1
"""Of the figure's width and height is left to the plot, whatever stands around it."""
NO_METADATA = {"Date": None, "Creator": None}


@dataclass(frozen=True)
class Line:
    """One line of a figure: its label, its look, and its points with their spread (NaN: none)."""

    label: str
    mark: Mark
    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray | None = None
    words: Sequence[str] = field(default=(), kw_only=True)
    """What stands beside each point, if anything."""


def metric_against_shots(
    task: str, shots: Sequence[str], lines: Sequence[Line], metric: str = "Dice"
) -> str:
    """Draw Dice or AUC against shots, a line per method; x indexes ``shots``, bars are +/- 1 SD.

    A point without a spread is hollow.
    """
    alone = [
        ~np.isfinite(line.y if line.spread is None else line.spread) & np.isfinite(line.y)
        for line in lines
    ]

    def draw(axes: Axes) -> None:
        offsets = np.linspace(-0.12, 0.12, len(lines)) if len(lines) > 1 else [0.0]
        for line, offset, hollow in zip(lines, offsets, alone, strict=True):
            style: dict[str, Any] = {"color": line.mark.colour, "zorder": 3}
            axes.plot(
                line.x + offset, line.y, linestyle=line.mark.dash, linewidth=1.6,
                marker=line.mark.marker, markersize=5.5, markeredgewidth=0, **style,
            )  # fmt: skip
            known = np.isfinite(line.spread) if line.spread is not None else np.zeros(0, bool)
            if known.any():
                assert line.spread is not None
                axes.errorbar(
                    (line.x + offset)[known], line.y[known], line.spread[known],
                    fmt="none", elinewidth=1.1, capsize=2.5, capthick=1.1, **style,
                )  # fmt: skip
            if hollow.any():
                axes.plot(
                    (line.x + offset)[hollow], line.y[hollow], linestyle="none",
                    marker=line.mark.marker, markersize=5, markeredgewidth=1.3,
                    markerfacecolor=BLANK, **style,
                )  # fmt: skip
        axes.set_xticks(range(len(shots)), shots)
        axes.set_xlim(-0.4, len(shots) - 0.6)
        axes.set_xlabel("Shots (labelled training cases)")
        axes.set_ylabel(f"{metric} ({'mean over' if metric == 'Dice' else 'of'} test cases)")
        low, high = axes.get_ylim()
        spare = max(0.0, LEAST_SPAN - (high - low)) / 2
        axes.set_ylim(low - spare, high + spare)

    text = "; ".join(
        f"{line.label}: "
        + ", ".join(
            f"{y:.3f} at {shots[int(x)]}"
            for x, y in zip(line.x, line.y, strict=True)
            if np.isfinite(y)
        )
        for line in lines
    )
    hollow = "hollow: one run, no spread" if any(one.any() for one in alone) else ""
    return _svg(task, f"{metric} against shots on {task}. {text}.", draw, lines, hollow)


def metric_against_hours(task: str, lines: Sequence[Line]) -> str:
    """Draw mean Dice against the wall time of a cell, a line per method through its shots.

    ``words`` of a line are the shots, written beside its points. Time is in the unit that suits
    it, on a logarithmic axis where it spans more than a factor of 3.
    """
    hours = np.concatenate([line.x for line in lines])
    unit, factor = next(
        (name, times)
        for name, times in (("Hours", 1), ("Minutes", 60), ("Seconds", 3600))
        if np.nanmax(hours) * times >= 2 or times == 3600
    )

    def draw(axes: Axes) -> None:
        for line in lines:
            axes.plot(
                factor * line.x, line.y, color=line.mark.colour, linestyle=line.mark.dash,
                linewidth=0.9, marker=line.mark.marker, markersize=6.5, markeredgewidth=0,
            )  # fmt: skip
            for x, y, word in zip(line.x, line.y, line.words, strict=True):
                axes.annotate(
                    word, (factor * x, y), (5, 4), textcoords="offset points", fontsize=8,
                    color=line.mark.colour,
                )  # fmt: skip
        if np.nanmin(hours) > 0 and np.nanmax(hours) > 3 * np.nanmin(hours):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"{unit} of a cell (fine-tuning and evaluation)")
        axes.set_ylabel("Dice (mean over test cases)")
        axes.margins(x=0.08, y=0.1)

    text = "; ".join(
        f"{line.label}: "
        + ", ".join(f"{y:.3f} in {x:.3g} h" for x, y in zip(line.x, line.y, strict=True))
        for line in lines
    )
    return _svg(task, f"Dice against hours of a cell on {task}. {text}.", draw, lines)


def layer_profiles(title: str, lines: Sequence[Line]) -> str:
    """Draw the CKA of every layer before against after fine-tuning, a line per method."""

    def draw(axes: Axes) -> None:
        for line in reversed(lines):
            axes.plot(
                line.x, line.y, color=line.mark.colour, linestyle=line.mark.dash, linewidth=1.5,
                marker=line.mark.marker, markersize=4.5, markeredgewidth=0,
            )  # fmt: skip
            if line.spread is not None and np.isfinite(line.spread).any():
                axes.fill_between(
                    line.x, line.y - line.spread, line.y + line.spread,
                    color=line.mark.colour, alpha=0.16, linewidth=0,
                )  # fmt: skip
        axes.set_xlabel("Layer, from the input")
        axes.set_ylabel("CKA, before against after")
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.03)
        axes.set_xticks(lines[0].x, [f"{layer:.0f}" for layer in lines[0].x])

    means = "; ".join(f"{line.label}: {np.nanmean(line.y):.2f} on average" for line in lines)
    return _svg(title, f"CKA by layer, {title}. {means}.", draw, lines)


def loss_curves(title: str, lines: Sequence[Line], ylabel: str = "Training loss") -> str:
    """Draw a quantity against optimizer step, a line per method with a band of +/- 1 SD."""

    def draw(axes: Axes) -> None:
        # The first line, the baseline, lies on top: dashed, it hides no other.
        for line in reversed(lines):
            axes.plot(
                line.x, line.y, color=line.mark.colour, linestyle=line.mark.dash, linewidth=1.5,
                marker=line.mark.marker, markersize=4.5, markeredgewidth=0,
                markevery=max(1, len(line.x) // 5),
            )  # fmt: skip
            if line.spread is not None and np.isfinite(line.spread).any():
                axes.fill_between(
                    line.x, line.y - line.spread, line.y + line.spread,
                    color=line.mark.colour, alpha=0.16, linewidth=0,
                )  # fmt: skip
        axes.set_xlabel("Optimizer step")
        axes.set_ylabel(ylabel)
        axes.margins(x=0.02)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))

    ends = "; ".join(f"{line.label}: {line.y[0]:.3g} to {line.y[-1]:.3g}" for line in lines)
    return _svg(title, f"{ylabel} against optimizer step, {title}. {ends}.", draw, lines)


def curve(histories: pd.DataFrame, column: str, points: int = 120) -> tuple[np.ndarray, ...]:
    """Average one column of several runs' histories at each step: step, mean, SD over runs.

    Steps are binned to at most ``points``, so that a page stays small whatever the run's length;
    a run's mean within a bin comes before the spread over runs.
    """
    known = histories[["step", column, "_run"]].dropna(subset=[column])
    steps, values = known["step"].to_numpy(float), known[column].to_numpy(float)
    width = max(1.0, (steps.max() - steps.min() + 1) / points)
    place = np.floor((steps - steps.min()) / width).astype(int)
    runs = mean_table(place, known["_run"], values)
    middle = mean_table(place, known["_run"], steps).mean(axis=1)
    return middle.to_numpy(), runs.mean(axis=1).to_numpy(), runs.std(axis=1).to_numpy()


def inline(svg: str, name: str) -> str:
    """Turn a figure's SVG file into markup for a page.

    Ids are prefixed by ``name`` (unique on the page), ink and grid follow the page's colours, and
    what a page does without is dropped: the file's header, fonts, names of groups, blanks, and
    what is below a hundredth of a point.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r" font-family: [^;\"]*;?| transform=\"rotate\(-0 [^)]*\)\"", "", body)
    body = re.sub(r'( [xy]="-?\d+\.\d\d)\d+', r"\1", body)
    body = re.sub(r'(?<= d=")[^"]*', lambda path: _squeezed(path[0]), body)
    body = re.sub(r">\s+<", "><", body)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{name}-", body)
    body = re.sub(r'aria-labelledby="[^"]*"', f'aria-labelledby="{name}-t {name}-d"', body)
    body = body.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    return body.replace(BLANK, "var(--paper)")


def _squeezed(path: str) -> str:
    """Return an SVG path without the blanks around its letters."""
    return re.sub(r"\s*([A-Z])\s*", r"\1", path).strip()


def _svg(
    title: str,
    description: str,
    draw: Callable[[Axes], None],
    lines: Sequence[Line],
    hollow: str = "",
) -> str:
    style = {**sns.axes_style("ticks"), **STYLE}
    with mpl.rc_context(style):
        columns = 1 if max((len(line.label) for line in lines), default=0) > 20 else 3
        height = HEIGHT + LEGEND_ROW * -(-(len(lines) + bool(hollow)) // columns)
        figure = Figure(figsize=(WIDTH, height), dpi=DPI)
        axes = figure.add_subplot()
        # Told its height, the title is not measured against the axes' factor, which gives way.
        axes.set_title(title, loc="left", fontweight="bold", y=1.0)
        axes.yaxis.set_offset_position("right")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        draw(axes)
        sns.despine(ax=axes)
        _legend(figure, lines, columns, hollow)
        text = _drawn_once(figure)
    return accessible(text, title, description)


def _drawn_once(figure: Figure) -> str:
    """Return the SVG of a figure of one plot: ``savefig`` lays it out and draws it twice."""
    buffer = io.StringIO()
    renderer = RendererSVG(*figure.bbox.size, buffer, image_dpi=DPI, metadata=NO_METADATA)
    _lay_out(figure, renderer)
    figure.draw(renderer)
    renderer.finalize()
    return buffer.getvalue()


def _lay_out(figure: Figure, renderer: RendererSVG) -> None:
    """Make room for what stands around the plot, as matplotlib's constrained layout in two rounds.

    One round does where the plot has its size before, on which the number of its ticks depends.
    """
    (axes,), (legend,) = figure.axes, figure.legends
    below = legend.get_window_extent(renderer).height + 2 * PAD
    left, bottom, right, top = AROUND
    _place(axes, left, below + bottom, right, top)
    inner, outer = axes.bbox, axes.get_tightbbox(renderer, for_layout_only=True)
    assert outer is not None
    left, bottom = inner.x0 - outer.x0 + PAD, inner.y0 - outer.y0 + PAD
    right, top = outer.x1 - inner.x1 + PAD, outer.y1 - inner.y1 + PAD
    _place(axes, left, below + bottom, right, top)


def _place(axes: Axes, left: float, bottom: float, right: float, top: float) -> None:
    """Put the axes so far from the figure's edges, in points, and leave them some size."""
    width, height = axes.figure.bbox.size
    wide, high = 1 - (left + right) / width, 1 - (bottom + top) / height
    axes.set_position((left / width, bottom / height, max(wide, LEAST), max(high, LEAST)))


def _legend(figure: Figure, lines: Sequence[Line], columns: int, hollow: str) -> None:
    handles = [
        Line2D([], [], color=one.mark.colour, linestyle=one.mark.dash, lw=1.6,
               marker=one.mark.marker, markersize=5.5, markeredgewidth=0)
        for one in lines
    ]  # fmt: skip
    # A leading underscore would hide a label; a zero-width space before it keeps it.
    labels = [f"\u200b{one.label}" if one.label.startswith("_") else one.label for one in lines]
    if hollow:
        handles.append(hollow_handle())
        labels.append(hollow)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9,
        handlelength=2.6, columnspacing=1.4,
    )  # fmt: skip


def hollow_handle() -> Line2D:
    """Return what stands in a legend for points that have no interval."""
    return Line2D([], [], linestyle="none", marker="o", markersize=5, markeredgewidth=1.3,
                  markeredgecolor=INK, markerfacecolor=BLANK)  # fmt: skip


def accessible(svg: str, title: str, description: str) -> str:
    """Give the SVG a title and a description, and take out what would leak into a page."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    title, description = (html.escape(text.replace("`", "")) for text in (title, description))
    head = f'<title id="t">{title}</title><desc id="d">{description}</desc>'
    attributes = 'role="img" aria-labelledby="t d" stroke-linejoin="round" stroke-linecap="butt"'
    return re.sub(r"<svg ([^>]*)>", lambda m: f"<svg {attributes} {m[1]}>{head}", svg, count=1)
