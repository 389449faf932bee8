"""``bench report``: records in, a folder out that is read from disk, offline, without a server.

::

    index.html        tables of aggregates, figures, styles and script; readable without script
    data/*.js         cells and cases of each task, loaded on demand
    tables/*          the same numbers as CSV, JSON and Parquet
    figures/*.svg     each figure as a file
    cases/*           pictures of test cases
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
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
from medssl_bench.analysis.leaderboard import (
    cost,
    datafiles,
    exports,
    forks,
    leaks,
    overall,
    overview,
    pairs,
    parts,
    plots,
    provenance,
    reported,
    scripted,
    studied,
    subjects,
    targets,
)
from medssl_bench.analysis.leaderboard.examples import ExampleRow, example_rows
from medssl_bench.analysis.leaderboard.galleries import Gallery, write_galleries
from medssl_bench.analysis.leaderboard.marks import SHAPES, Mark, method_marks, row_labels
from medssl_bench.analysis.leaderboard.pictures import write_pictures
from medssl_bench.analysis.leaderboard.plots import Plot
from medssl_bench.analysis.leaderboard.results import Results, read_results
from medssl_bench.analysis.leaderboard.standings import DEFAULT, Definition, Key, Standing
from medssl_bench.analysis.leaderboard.views import prose, unquoted
from medssl_bench.analysis.protocols import trained_alike
from medssl_bench.durable import temporary_name

MODULES = (
    *("state", "late", "tables", "filters", "definitions", "data", "compare", "provenance"),
    "main",
)
"""The page's script, in this order."""
MOST_LISTED = 300
"""Cells listed without script; of more, the file ``tables/cells.csv`` is named instead."""
MANY_TABLES = 20
"""From more tables on than this, the overview is laid out as far as it is near the window."""


def build_report(results: Path, out: Path, generated: datetime | None = None) -> Path:
    """Read a results folder and write the page's folder; returns the page's path.

    Raises BenchError where there is nothing to report or a table contradicts itself.
    """
    found, left_out = read_results(results)
    return write_report(found, out, generated, left_out)


@forks.without_collector()
def write_report(
    results: Results,
    out: Path,
    generated: datetime | None = None,
    left_out: Sequence[str] = (),
) -> Path:
    """Write the report of results that are read already (see :func:`build_report`)."""
    report = Report(results, generated or datetime.now(UTC))
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "generated": report.generated.isoformat(timespec="seconds"),
        "definitions": dict(provenance.definitions(results)),
        "aggregation": tables.__doc__,
        "aggregation_of_classification": classification.__doc__,
        "left_out": list(left_out),
    }
    exports.write_figures(out, [*report.plots, *report.study_figures])
    shown = {one.picture.key for row in report.examples for one in row.examples}
    pictures = write_pictures(out, results, report.row_of, shown)
    files = [
        *exports.table_writers(out, report.board, results, about, report.classes, report.standings),
        *datafiles.data_writers(out, results, report.row_of, report.ids, report.boards, pictures),
    ]
    with forks.beside(files, worth=results.large):
        text = render(report, pictures, left_out, write_galleries(out, results))
    unfinished = temporary_name(out / "index.html")
    unfinished.write_text(text, encoding="utf-8")
    return unfinished.replace(out / "index.html")


@dataclass
class Report:
    """All that is computed for a page, each part when it is first asked for."""

    results: Results
    generated: datetime

    @cached_property
    def parts(self) -> list[parts.TaskPart]:
        """What is computed of each task."""
        return parts.compute_parts(
            self.results, self.row_of, self.marks, frozenset(self.own_protocols)
        )

    @cached_property
    def board(self) -> pd.DataFrame:
        """Leaderboard of segmentation tasks; empty where there is none."""
        return _stacked([part.board for part in self.parts], [*tables.ROW])

    @cached_property
    def classes(self) -> pd.DataFrame:
        """Leaderboard of classification tasks; empty where there is none."""
        return _stacked([part.classes for part in self.parts], [*tables.ROW])

    @cached_property
    def targets(self) -> pd.DataFrame:
        """Table of targets of segmentation tasks."""
        return _stacked([part.targets for part in self.parts], [*tables.ROW, "target"])

    @cached_property
    def standings(self) -> dict[Definition, dict[Key, Standing]]:
        """Where each row stands, under each definition that its task has numbers for."""
        found: dict[Definition, dict[Key, Standing]] = {}
        for part in self.parts:
            for definition, rows in part.standings.items():
                found.setdefault(definition, {}).update(rows)
        return found

    @cached_property
    def boards(self) -> list[pairs.Board]:
        """Every pair of methods of every board."""
        return [board for part in self.parts for board in part.pairs]

    @cached_property
    def costs(self) -> dict[Key, cost.Cost]:
        """Cost of each row."""
        return {key: found for part in self.parts for key, found in part.costs.items()}

    @cached_property
    def ids(self) -> dict[Key, str]:
        """Name of each row on the page."""
        return {key: overview.row_id(key) for key in set(self.row_of.values())}

    @cached_property
    def labels(self) -> dict[Key, str]:
        """Name of each row among those of its task and shots."""
        found = {}
        for _, rows in self.board.groupby(["task", "shots"], sort=False):
            words = [{name: str(row[name]) for name in tables.ROW} for row in tables.rows_of(rows)]
            for row, label in zip(words, row_labels(words), strict=True):
                found[tuple(row[name] for name in tables.ROW)] = label
        return found

    @cached_property
    def class_rows(self) -> dict[str, dict[str, Any]]:
        """What the comparison needs of each row of classification, by its name on the page."""
        found = {}
        for (task, shots), rows in self.classes.groupby(["task", "shots"], sort=False):
            records = tables.rows_of(rows)
            words = [{name: str(row[name]) for name in tables.ROW} for row in records]
            for row, one, label in zip(records, words, row_labels(words), strict=True):
                name = overview.row_id(tuple(one[key] for key in tables.ROW))
                auc = None if row["auc"] != row["auc"] else float(f"{row['auc']:.7g}")
                found[name] = {"task": task, "shots": shots, "label": label, "auc": auc}
        return found

    @cached_property
    def row_of(self) -> dict[str, Key]:
        """Row of each cell, by its key."""
        first = self.results.cases.drop_duplicates("key")
        words = tables.as_words(first[["key", *tables.ROW]], tables.ROW)
        return {
            str(row["key"]): tuple(row[name] for name in tables.ROW)
            for row in tables.rows_of(words)
        }

    @cached_property
    def marks(self) -> Mapping[str, Mark]:
        """How each method is drawn."""
        methods = [record["cell"]["method"] for record in self.results.records]
        return method_marks(methods, list(registry.methods.entries()), tables.BASELINE)

    @cached_property
    def own_protocols(self) -> set[str]:
        """Protocols of methods that bring a training of their own."""
        own = provenance.own_training(self.results)
        return {digest for found in own.values() for digest in found}

    @cached_property
    def plots(self) -> list[Plot]:
        """Figures that are drawn for the page."""
        rows = pd.concat([self.board[tables.ROW], self.classes[tables.ROW]])
        return parts.numbered(
            [
                *(plot for part in self.parts for plot in part.plots),
                *plots.plot_pretraining(self.results.pretraining, rows, self.marks),
            ]
        )

    @cached_property
    def studies(self) -> dict[str, list[studied.Studied]]:
        """Answers of the analyses that have a place on the page."""
        if self.results.segmented.empty:
            return {}
        found = {
            name: [part.studies[name] for part in self.parts if name in part.studies]
            for name in parts.PER_TASK
        }
        evidence = studied.evidence_of(self.results, wants_figures=not self.results.large)
        for part in self.parts:
            evidence.know_panels(part.task, part.of_groups)
        across = studied.study(evidence, "modality-gap")
        return {**found, "modality-gap": [across]}

    @property
    def study_figures(self) -> list[Plot]:
        """Figures of the analyses."""
        return [
            Plot(name, one.analysis, one.task, one.task, svg)
            for found in self.studies.values()
            for one in found
            for name, svg in one.figures.items()
        ]

    @cached_property
    def examples(self) -> list[ExampleRow]:
        """The same test case by every method."""
        return example_rows(self.results, self.marks)


def _stacked(found: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    known = [table for table in found if len(table)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=[*columns])


def render(
    report: Report,
    pictures: Mapping[str, Mapping[str, str]],
    left_out: Sequence[str] = (),
    galleries: Sequence[Gallery] = (),
) -> str:
    """Return the page's HTML; every text in it is escaped, every figure is inside.

    ``pictures``: of each cell and case, where its picture lies below the page's folder;
    ``galleries``: those of pretrainings.
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("medssl_bench.analysis.leaderboard"),
    )
    environment.filters |= {"prose": prose, "unquoted": unquoted}
    results, marks = report.results, report.marks
    script = "\n".join(_static(f"{name}.js") for name in MODULES)
    found_leaks = leaks.leak_values(results.records)
    modality, families = subjects.modalities(results.records), subjects.families()
    own = provenance.own_training(results)
    told = {str(conflict) for conflict in results.conflicts}
    blocks = overview.blocks(
        provenance.settings_told(report.board, results.records),
        report.standings.get(DEFAULT, {}), marks, found_leaks,
        report.own_protocols, {"modality": modality, "family": families},
        reported.printed_rows(),
        overview.origins(
            report.row_of, results.sources, {conflict.key for conflict in results.conflicts}
        ),
    ) if len(report.board) else []  # fmt: skip
    shown_targets = targets.target_tables(
        report.targets, tables.target_order(results.segmented), marks
    )
    tasks = sorted({record["cell"]["task"] for record in results.records})
    groups = overall.places(
        [one for part in report.parts for one in part.panels], trained_alike(results.records),
        others=len(report.classes) > 0,
    )  # fmt: skip
    order = [place for group in groups for place in group]
    return environment.get_template("page.html").render(
        script=Markup(script),
        style=Markup(_static("page.css")),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        generated=report.generated.astimezone(UTC),
        facts=provenance.facts(results, report.board, version("medssl-bench")),
        modality=modality,
        blocks=blocks,
        many_tables=MANY_TABLES,
        overall=overall.overall_tables(groups, marks),
        side_by_side=overall.matrix_table(report.standings.get(DEFAULT, {}), order, marks),
        own=list(own),
        classes=class_views.board_tables(
            provenance.settings_told(report.classes, results.records),
            marks,
            found_leaks,
            reported.printed_classes(),
            families,
        ),
        leaks=leaks.leak_lines(results.records),
        conflicts=provenance.conflict_table(results, marks),
        filters=scripted.filters(blocks, modality, tasks, report.classes),
        definitions_choices=scripted.definition_choices(report),
        page_data=Markup(datafiles.script_json(scripted.page_data(report, tasks))),
        figures=_figures(report.plots),
        studies=report.studies,
        study_svgs={
            plot.name: Markup(inline(plot.svg, plot.name)) for plot in report.study_figures
        },
        pair_tables=pairs.pair_tables(report.boards),
        cost_tables=cost.cost_tables(
            report.board, report.costs, results.pretraining_hours, marks, families
        ),
        methods=subjects.method_subjects(
            report.board,
            report.standings.get(DEFAULT, {}),
            marks,
            results.records,
            report.classes,
        ),  # fmt: skip
        tasks=[
            (
                task,
                *subjects.task_facts(task, results.records),
                shown_targets.get(task, []),
                [row for row in report.examples if row.task == task],
            )
            for task in tasks
        ],  # fmt: skip
        printed=reported.printed_tables(),
        cells=provenance.source_table(results, marks)
        if len(results.records) <= MOST_LISTED
        else None,
        cell_count=len(results.records),
        definitions=provenance.definitions(results),
        shapes=SHAPES,
        left_out=[line for line in left_out if line not in told],
        pictures=pictures,
        galleries=galleries,
    )


def _figures(made: Sequence[Plot]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for plot in made:
        svg = Markup(inline(plot.svg, plot.name))
        kinds.setdefault(plot.kind, []).append(
            {"name": plot.name, "title": plot.title, "task": plot.task, "svg": svg}
        )
    return kinds


def _static(name: str) -> str:
    return resources.files(__package__).joinpath("static", name).read_text(encoding="utf-8")
