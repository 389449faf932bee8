"""``bench report``: records in, one self-contained page and its tables and figures out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from medssl_bench import registry
from medssl_bench.analysis import classification, tables
from medssl_bench.analysis.figures import inline
from medssl_bench.analysis.leaderboard import classification as class_views
from medssl_bench.analysis.leaderboard import exports, leaks, plots, sources, views
from medssl_bench.analysis.leaderboard.examples import example_rows
from medssl_bench.analysis.leaderboard.marks import SHAPES, Mark, method_marks
from medssl_bench.analysis.leaderboard.results import Results, numbers_of, read_results

KINDS = {
    "shots": "Dice against shots",
    "auc": "AUC against shots",
    "loss": "Fine-tuning loss",
    "pretraining": "Pretraining loss",
    "cka": "Feature reuse",
}


def build_report(results: Path, out: Path, generated: datetime | None = None) -> Path:
    """Read a results folder and write ``index.html``, tables and figures; returns the page's path.

    Raises BenchError where there is nothing to report or a table contradicts itself.
    """
    found, left_out = read_results(results)
    return write_report(found, out, generated, left_out)


def write_report(
    results: Results,
    out: Path,
    generated: datetime | None = None,
    left_out: Sequence[str] = (),
) -> Path:
    """Write the report of results that are read already (see :func:`build_report`)."""
    report = _Report.of(results, generated or datetime.now(UTC))
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "generated": report.generated.isoformat(timespec="seconds"),
        "definitions": dict(sources.definitions(results)),
        "aggregation": tables.__doc__,
        "aggregation_of_classification": classification.__doc__,
        "left_out": list(left_out),
    }
    found = leaks.leak_values(results.records)
    exports.write_tables(out, report.board, results.cases, about, report.classes, found)
    exports.write_figures(out, report.plots)
    page = out / "index.html"
    page.write_text(render(results, report, left_out), encoding="utf-8")
    return page


@dataclass(frozen=True)
class _Report:
    """All that is computed for a page."""

    board: pd.DataFrame
    """Of segmentation tasks; empty where there is none."""
    classes: pd.DataFrame
    """Of classification tasks; empty where there is none."""
    targets: pd.DataFrame
    plots: list[plots.Plot]
    marks: Mapping[str, Mark]
    generated: datetime

    @classmethod
    def of(cls, results: Results, generated: datetime) -> _Report:
        board, targets = _boards(results.segmented)
        classes = (
            classification.leaderboard(results.classified)
            if len(results.classified)
            else pd.DataFrame(columns=tables.ROW)
        )
        rows = pd.concat([board[tables.ROW], classes[tables.ROW]])
        marks = method_marks(rows["method"], list(registry.methods.entries()), tables.BASELINE)
        histories = _as_words(results.histories)
        # The loss of another training is on a scale of its own.
        others = {digest for found in sources.own_training(results).values() for digest in found}
        histories = histories[~histories["protocol"].isin(others)]
        figures = [
            *plots.plot_shots(board, marks),
            *plots.plot_shots(classes, marks, "auc"),
            *plots.plot_convergence(histories, marks, "loss", "Fine-tuning loss"),
            *(
                plot
                for name in numbers_of(histories, "validation")
                for plot in plots.plot_convergence(histories, marks, name, _title(name))
            ),
            *plots.plot_pretraining(results.pretraining, rows, marks),
            *plots.plot_reuse(_as_words(results.similarity), marks),
        ]
        return cls(board, classes, targets, figures, marks, generated)


def _boards(cases: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the leaderboard and the table of targets of the segmentation rows, if any."""
    if cases.empty:
        nothing = pd.DataFrame(columns=[*tables.ROW, "target"])
        return nothing, nothing
    return tables.leaderboard(cases), tables.target_table(cases)


def render(results: Results, report: _Report, left_out: Sequence[str] = ()) -> str:
    """Return the page's HTML; every text in it is escaped, every figure and picture is inside."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_file),
    )
    own = sources.own_training(results)
    script, style = _file("page.js"), _file("page.css")
    return environment.get_template("page.html").render(
        script=Markup(script),
        style=Markup(style),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        generated=report.generated.astimezone(UTC),
        facts=sources.facts(results, report.board, version("medssl-bench")),
        boards=views.leaderboard_tables(
            report.board,
            report.marks,
            leaks.leak_values(results.records),
            {digest for found in own.values() for digest in found},
        ),
        own=list(own),
        classes=class_views.board_tables(
            report.classes, report.marks, leaks.leak_values(results.records)
        ),
        leaks=leaks.leak_lines(results.records),
        targets=views.target_tables(
            report.targets, tables.target_order(results.segmented), report.marks
        ),
        figures=_figures(report.plots),
        examples=example_rows(results, report.marks),
        sources=sources.source_table(results, report.marks),
        definitions=sources.definitions(results),
        shapes=SHAPES,
        left_out=left_out,
    )


def _as_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns of its runs as text."""
    return tables.as_words(table, [name for name in tables.RUN if name in table])


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("dice", "Dice")


def _figures(made: Sequence[plots.Plot]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for plot in made:
        title = KINDS.get(plot.kind, _title(plot.kind))
        svg = Markup(inline(plot.svg, plot.name))
        kinds.setdefault(title, []).append({"name": plot.name, "title": plot.title, "svg": svg})
    return kinds


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
