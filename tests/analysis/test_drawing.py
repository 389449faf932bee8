"""Figures of analyses stay readable whatever corpora and methods are called."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from medssl_bench.analysis.studies.drawing import HOLLOW, legend_below, sheet, variants


@pytest.mark.parametrize("length", [8, 45, 90, 250])
def test_a_legend_of_long_names_takes_nothing_from_the_axes_and_is_not_cut(length: int) -> None:
    names = [f"_{number}".ljust(length, "m") for number in range(7)]
    figure, axes = sheet(2, 5.0, 3.0, 2)
    handles = {name: axes[0].plot([0, 1], [number, 1])[0] for number, name in enumerate(names)}
    legend_below(figure, handles, True)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    (legend,) = figure.legends
    texts = [text.get_text().strip("\u200b") for text in legend.get_texts()]
    assert texts[-1] == HOLLOW
    for text, name in zip(texts, names, strict=False):
        assert text == name or (length > 80 and name.startswith(text.rstrip("\u2026")))
    box = legend.get_window_extent(renderer)
    assert 0 <= box.y0 and box.x0 >= 0 and box.x1 <= figure.bbox.width
    for one in axes:
        assert one.bbox.width > 0.7 * 5.0 * figure.dpi and one.bbox.height > 0.7 * 3.0 * figure.dpi
        assert not one.bbox.overlaps(box)


def test_pretrainings_of_one_method_are_numbered_apart() -> None:
    methods = {"smit a": "smit", "scratch": "scratch", "smit b": "smit"}
    assert variants(methods) == {"smit a": 0, "scratch": 0, "smit b": 1}
