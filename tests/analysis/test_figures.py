"""Figures are valid SVG, say what they show, and can stand many to a page."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG

from medssl_bench.analysis import figures
from medssl_bench.analysis.figures import (
    BLANK,
    Line,
    curve,
    inline,
    loss_curves,
    metric_against_hours,
    metric_against_shots,
)
from medssl_bench.analysis.leaderboard.marks import (
    BASELINE_MARKER,
    COLOURS,
    MARKERS,
    SHAPES,
    Mark,
    method_marks,
    row_labels,
    short,
)
from medssl_bench.analysis.leaderboard.plots import _by_identity, plot_pretraining, plot_shots
from medssl_bench.analysis.leaderboard.views import prose
from medssl_bench.analysis.studies.drawing import key, points, sheet, style, without
from medssl_bench.analysis.tables import IDENTITY, leaderboard

SVG = "{http://www.w3.org/2000/svg}"


def line(label: str = "smit") -> Line:
    mark = Mark(COLOURS[0], "o")
    return Line(label, mark, np.array([0.0, 1.0]), np.array([0.5, 0.7]), np.array([0.1, np.nan]))


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_figure_has_title_description_axes_and_legend() -> None:
    svg = metric_against_shots("phantom_ct", ["5", "full"], [line()])
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "phantom_ct"
    assert "smit: 0.500 at 5, 0.700 at full" in (root.findtext(f"{SVG}desc") or "")
    assert {"5", "full", "smit", "Shots (labelled training cases)"} <= set(texts(svg))


@pytest.mark.parametrize("name", ["<script>", "$x_1$", "_hidden", "a & b", "--> <!--", "%s{}"])
def test_any_name_is_text(name: str) -> None:
    svg = loss_curves(name, [line(name)])
    assert name in [text.removeprefix("\u200b") for text in texts(svg)]
    assert not list(ElementTree.fromstring(svg).iter(f"{SVG}script"))


def test_a_point_without_spread_is_hollow_and_the_legend_says_so() -> None:
    svg = metric_against_shots("t", ["5", "full"], [line()])
    assert "hollow: one run, no spread" in texts(svg)
    # One marker of the line, one in the legend.
    assert svg.count(f"fill: {BLANK}") == 2 and inline(svg, "a").count("fill: var(--paper)") == 2
    sure = replace(line(), spread=np.array([0.1, 0.2]))
    svg = metric_against_shots("t", ["5", "full"], [sure])
    assert BLANK not in svg and not any("hollow" in text for text in texts(svg))


@pytest.mark.parametrize(
    ("hours", "unit"), [((0.01, 0.012), "Seconds"), ((0.2, 1.5), "Minutes"), ((3, 40), "Hours")]
)
def test_costs_say_which_shots_and_in_which_unit(hours: tuple[float, float], unit: str) -> None:
    one = replace(line(), x=np.array(hours), words=("5", "full"))
    svg = metric_against_hours("t", [one])
    assert {"5", "full", "smit"} <= set(texts(svg))
    assert f"{unit} of a cell (fine-tuning and evaluation)" in texts(svg)


def test_variants_of_a_method_have_markers_of_their_own(case_table: pd.DataFrame) -> None:
    marks = method_marks(["scratch", "smit"], ["scratch", "smit"], "scratch")
    board = leaderboard(case_table)
    mine = board[(board["method"] == "smit") & (board["task"] == "phantom_ct")]
    both = pd.concat([mine, mine.assign(backbone="swin_65m")])
    lines = [mark for _, mark, _ in _by_identity(both, marks)]
    assert len(lines) == len({(one.marker, one.dash) for one in lines}) == 2
    assert len({one.marker for one in lines}) == 2 and len({one.colour for one in lines}) == 1


def test_an_interval_that_is_missing_is_hollow_in_analyses_too() -> None:
    with style():
        figure, (axes,) = sheet(1, 4, 3)
        x, y = np.array([0.0, 1.0]), np.array([0.5, 0.6])
        low, high = np.array([0.4, np.nan]), np.array([0.6, np.nan])
        points(axes, x, y, low, high, mark=Mark(COLOURS[0], "o"), label="smit")
        table = pd.DataFrame({"mean": y, "low": low, "high": high})
        key(axes, without(table))
        hollow = [one for one in axes.lines if one.get_markerfacecolor() == BLANK]
        assert [list(one.get_xdata()) for one in hollow] == [[1.0]]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [
            "smit", "hollow: no interval",
        ]  # fmt: skip
        assert not without(table[:1])


def test_code_in_prose_is_marked_up_and_all_else_is_text() -> None:
    assert prose("see `bench run --x <a>` & <b>") == (
        "see <code>bench run --x &lt;a&gt;</code> &amp; &lt;b&gt;"
    )
    svg = loss_curves("`a`", [line()], "`b`")
    assert "`" not in re.search("<desc.*?</desc>", svg, re.S)[0]


@pytest.mark.parametrize("top", [1.0, 1e-4, 3e8])
@pytest.mark.parametrize("labels", [["smit"], [f"method {i}" for i in range(12)], ["x" * 40] * 9])
def test_the_plot_has_the_place_that_constrained_layout_gives(
    labels: list[str], top: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(figures, "_drawn_once", lambda figure: drawn.append(figure) or "<svg >")
    lines = [replace(line(label), y=top * np.array([0.5, 0.7])) for label in labels]
    loss_curves("t", lines)
    monkeypatch.undo()
    (figure,) = drawn
    places = []
    for engine in ("constrained", "none"):
        figure.set_layout_engine(engine)
        if engine == "constrained":
            FigureCanvasSVG(figure).print_svg(io.StringIO())
        else:
            figures._drawn_once(figure)
        places.append(figure.axes[0].get_position().get_points() * figure.bbox.size)
    assert np.abs(places[0] - places[1]).max() < 0.5  # points


def test_the_same_figure_is_the_same_file() -> None:
    first, second = (metric_against_shots("t", ["5", "full"], [line()]) for _ in range(2))
    assert first == second


def test_a_figure_inlined_keeps_its_words_and_marks() -> None:
    svg = metric_against_shots("t", ["5", "full"], [line(), line("other")])
    page = inline(svg, "a")
    assert len(page) < 0.9 * len(svg)
    assert texts(page) == texts(svg)
    for name in ("path", "use", "g"):
        before, after = (len(list(ElementTree.fromstring(x).iter(SVG + name))) for x in (svg, page))
        assert before == after > 0
    numbers = [
        [float(x) for d in re.findall(r' d="([^"]*)"', x) for x in re.findall(r"-?[\d.]+", d)]
        for x in (svg, page)
    ]
    assert numbers[0] == numbers[1]


def test_inlined_figures_share_no_id_and_follow_the_page() -> None:
    svg = metric_against_shots("t", ["5", "full"], [line()])
    one, two = inline(svg, "one"), inline(svg, "two")
    names = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert names[0] and not names[0] & names[1]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', one))
    assert used and used <= names[0]
    assert "currentColor" in one and "var(--grid)" in one and "<?xml" not in one
    ElementTree.fromstring(one)


def test_curve_averages_within_a_run_before_the_spread_over_runs() -> None:
    runs = [
        pd.DataFrame({"step": range(1000), "loss": 1.0 + run, "_run": str(run)}) for run in (0, 1)
    ]
    step, mean, spread = curve(pd.concat(runs), "loss", points=50)
    assert len(step) == 50 and np.all(np.diff(step) > 0)
    assert np.allclose(mean, 1.5) and np.allclose(spread, np.std([1, 2], ddof=1))


def test_curve_of_one_run_has_no_spread() -> None:
    run = pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5], "_run": "0"})
    assert np.isnan(curve(run, "loss")[2]).all()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_colours_can_be_seen_on_white_and_on_black() -> None:
    for colour in COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
        assert (luminance(colour) + 0.05) / (luminance("#0f1318") + 0.05) >= 3, colour


def test_marks_do_not_depend_on_what_is_in_the_results() -> None:
    order = ["scratch", "simmim", "smit"]
    few = method_marks(["smit"], order, "scratch")
    many = method_marks(["smit", "plugin", "simmim"], order, "scratch")
    assert few["smit"] == many["smit"] and few["scratch"] == many["scratch"]
    assert len(set(many.values())) == len(many)


def test_every_marker_has_a_shape() -> None:
    assert {*MARKERS, BASELINE_MARKER} == set(SHAPES)
    assert len(set(method_marks([], [f"m{i}" for i in range(40)], "scratch").values())) == 41


def identity(**changes: str) -> dict[str, str]:
    return {**dict.fromkeys(IDENTITY, "x"), "method": "simmim", **changes}


def test_labels_add_only_what_tells_rows_apart() -> None:
    digests = [letter * 64 for letter in "ab"]
    rows = [
        identity(corpus="ct", pretraining=digests[0]),
        identity(corpus="noise", pretraining=digests[1]),
        identity(method="smit"),
    ]
    assert row_labels(rows) == ["simmim (corpus ct)", "simmim (corpus noise)", "smit"]
    rows = [identity(protocol=one) for one in digests]
    assert row_labels(rows) == ["simmim (protocol aaaaaaaa)", "simmim (protocol bbbbbbbb)"]


def test_only_digests_are_shortened() -> None:
    assert short("ab" * 32) == "abababab" and short("phantom_ct") == "phantom_ct"


def test_variants_of_a_method_are_lines_of_their_own(case_table: pd.DataFrame) -> None:
    noise = case_table[case_table["method"] == "simmim"].assign(corpus="noise", pretraining="n")
    board = leaderboard(pd.concat([case_table, noise]))
    marks = method_marks(board["method"], [], "scratch")
    words = texts(plot_shots(board, marks)[0].svg)
    assert {"simmim (corpus noise)", "simmim (corpus phantom_ct)", "smit", "scratch"} <= set(words)


def test_a_pretraining_is_drawn_once_however_its_encoder_is_tuned():
    history = pd.DataFrame({"pretraining": "abc", "step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]})
    row = {**dict.fromkeys(IDENTITY, ""), "method": "brainmvp", "pretraining": "abc"}
    rows = pd.DataFrame([row, {**row, "tuning": "templates"}])
    (plot,) = plot_pretraining(history, rows, method_marks(["brainmvp"], ["brainmvp"], "scratch"))
    assert plot.svg.count("3 to 1") == 1
