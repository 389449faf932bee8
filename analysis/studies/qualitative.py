"""The same slice of a test case as every method segments it (paper 004, Fig. 5)."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from medssl_bench.analysis.leaderboard.examples import Example, ExampleRow, example_rows
from medssl_bench.analysis.leaderboard.views import shots_text
from medssl_bench.analysis.studies.drawing import marks_of, style
from medssl_bench.analysis.studies.outcome import Evidence, Outcome, Section
from medssl_bench.stages.slices import tiles

SHOWN = {"method": "{method}", "case": "{case}", "Dice of this case": "{dice}"}
CLAIM = (
    "Pictures illustrate and prove nothing: for each task and shots the first case, draw and seed"
    " in name order that most methods have a picture of, so nobody picks them."
)


def analyse(evidence: Evidence) -> Outcome:
    """Lay out the stored slices: image, reference, then each method's prediction."""
    options, results = evidence.options, evidence.records
    marks = marks_of([record["cell"]["method"] for record in results.records])
    wanted = ["" if options.task is None else f"{options.task}, ", ""]
    if options.shots is not None:
        wanted[1] = f", {shots_text(options.shots)}"
    rows = [
        row
        for row in example_rows(results, marks)
        if row.title.startswith(wanted[0]) and row.title.endswith(wanted[1])
    ]
    if not rows:
        reason = "no record of these has slices; see the setting `example_slices`"
        return Outcome("panels", CLAIM, [Section("panels", pd.DataFrame(), reason=reason)])
    sections = [
        Section(
            row.title,
            pd.DataFrame(
                [
                    {
                        "method": one.label,
                        "case": row.case,
                        "dice": float(one.dice) if one.dice else np.nan,
                        "draw": row.draw,
                        "seed": row.seed,
                    }
                    for one in row.examples
                ]
            ),
            SHOWN,
            [f"draw {row.draw}, seed {row.seed}"],
        )
        for row in rows
    ]
    with style():
        figure = _figure(rows)
    return Outcome("panels", CLAIM, sections, {"panels": figure})


def _figure(rows: list[ExampleRow]) -> Figure:
    pictures = [[tiles(_picture(one)) for one in row.examples] for row in rows]
    columns = max(len(found[0]) - 1 + len(found) for found in pictures)
    figure = Figure(figsize=(1.7 * columns, 2.3 * len(rows)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)
    for row, found, part in zip(rows, pictures, parts[:, 0], strict=True):
        axes = part.subplots(1, columns, squeeze=False)[0]
        for one in axes:
            one.set_axis_off()
        *images, reference, _ = found[0]
        places = iter(axes)
        for image in images:
            _show(next(places), image, "image")
        _show(next(places), reference, "reference")
        for example, parts_of in zip(row.examples, found, strict=True):
            dice = f"\nDice {example.dice}" if example.dice else ""
            _show(next(places), parts_of[-1], f"{example.label}{dice}")
        part.suptitle(
            f"{row.title}: case {row.case}", fontsize=9, fontweight="bold", x=0.01, ha="left"
        )
        part.legend(
            handles=[Patch(color=colour, label=name) for name, colour in row.colours.items()],
            loc="outside lower center", ncols=8, frameon=False, fontsize=7, handlelength=1,
        )  # fmt: skip
    return figure


def _picture(example: Example) -> Image.Image:
    return Image.open(io.BytesIO(example.picture.png)).convert("RGB")


def _show(axes: Axes, tile: Image.Image, title: str) -> None:
    axes.imshow(np.asarray(tile))
    axes.set_title(title, fontsize=8)
