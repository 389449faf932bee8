"""What the page computes of each task, which other tasks do not touch: several at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from medssl_bench.analysis import classification, tables
from medssl_bench.analysis.leaderboard import cost, pairs, plots, studied
from medssl_bench.analysis.leaderboard.forks import fork_map
from medssl_bench.analysis.leaderboard.marks import Mark
from medssl_bench.analysis.leaderboard.results import Results, numbers_of
from medssl_bench.analysis.leaderboard.standings import Definition, Key, Standing, standings
from medssl_bench.analysis.statistics.panel import AREA, Panel, panels_of
from medssl_bench.analysis.studies.groups import group_tables
from medssl_bench.analysis.studies.outcome import Evidence

PER_TASK = (
    *("gaps", "groups", "convergence", "cka", "attention", "corpus-size", "capacity"),
    "missing-channels",
)
"""Analyses that the page shows for each task."""


@dataclass(frozen=True)
class TaskPart:
    """Everything of one task; tables of a kind that the task is not of are empty."""

    task: str
    board: pd.DataFrame
    classes: pd.DataFrame
    targets: pd.DataFrame
    standings: Mapping[Definition, Mapping[Key, Standing]]
    panels: Sequence[Panel]
    """By Dice, targets left out that the reference lacks."""
    of_groups: Mapping[tuple[str, ...], list[Panel]]
    """The same over the targets of each organ group alone."""
    pairs: Sequence[pairs.Board]
    costs: Mapping[Key, cost.Cost]
    plots: Sequence[plots.Plot]
    studies: Mapping[str, studied.Studied]


@dataclass(frozen=True)
class _Work:
    results: Results
    row_of: Mapping[str, Key]
    marks: Mapping[str, Mark]
    own_protocols: frozenset[str]


def compute_parts(
    results: Results,
    row_of: Mapping[str, Key],
    marks: Mapping[str, Mark],
    own_protocols: frozenset[str],
) -> list[TaskPart]:
    """Compute every task, in order of name; large tables by one process a core.

    Args:
        results: What was read.
        row_of: The leaderboard's row of each cell.
        marks: Of each method.
        own_protocols: Protocols of methods that bring a training of their own.
    """
    work = _Work(results, row_of, marks, own_protocols)
    tasks = sorted({str(record["cell"]["task"]) for record in results.records})
    # Apart from the rest, and last, curves keep all cores busy to the end.
    asked: list[tuple[Callable[[_Work, str], Any], str]] = [
        (compute, task) for compute in (_part, _curves) for task in tasks
    ]
    found = fork_map(lambda one: one[0](work, one[1]), asked, worth=work.results.large)
    parts, curves = found[: len(tasks)], found[len(tasks) :]
    return [
        replace(part, plots=[*part.plots, *more]) for part, more in zip(parts, curves, strict=True)
    ]


def _part(work: _Work, task: str) -> TaskPart:
    """Compute what is of a task but its curves of training."""
    mine, marks = of_task(work.results, task), work.marks
    cases, classed = mine.segmented, mine.classified
    nothing = pd.DataFrame(columns=[*tables.ROW])
    prepared = tables.prepare(cases) if len(cases) else nothing
    board = tables.board_of(prepared) if len(cases) else nothing
    classes = classification.leaderboard(classed) if len(classed) else nothing
    costs = cost.costs(mine.records, work.row_of)
    evidence = studied.evidence_of(mine, wants_figures=not work.results.large)
    if len(cases):
        evidence.know(prepared)
    found = evidence.panels() if len(cases) else []
    return TaskPart(
        task=task,
        board=board,
        classes=classes,
        targets=tables.targets_of(prepared) if len(cases) else nothing.assign(target=[]),
        standings=standings(cases, prepared) if len(cases) else {},
        panels=found,
        of_groups={
            targets: evidence.panels(targets=targets)
            for targets in group_tables(evidence)[task].values()
        }
        if len(cases)
        else {},
        pairs=pairs.compare_all([*found, *_distances(evidence), *_areas(classed)]),
        costs=costs,
        plots=[
            *plots.plot_shots(board, marks),
            *plots.plot_shots(classes, marks, "auc"),
            *plots.plot_reuse(as_categories(mine.similarity), marks),
            *plots.plot_cost(board, costs, marks),
        ],
        studies={
            name: studied.study(_without_curves(evidence, name), name, task) for name in PER_TASK
        }
        if len(cases)
        else {},
    )


def _distances(evidence: Evidence) -> list[Panel]:
    """Return what can be compared by HD95, where it was measured."""
    cases = evidence.records.segmented
    if "hd95" not in cases or not cases["hd95"].notna().any():
        return []
    return evidence.asked(replace(evidence.options, metric="hd95")).panels()


def _areas(classed: pd.DataFrame) -> list[Panel]:
    """Return what can be compared by AUC."""
    values = classification.placed(classed) if len(classed) else classed
    return panels_of(values, AREA) if len(values) else []


def _without_curves(evidence: Evidence, name: str) -> Evidence:
    """Return evidence that draws nothing where the page has the same curves already."""
    return replace(evidence, wants_figures=False) if name == "convergence" else evidence


def of_task(results: Results, task: str) -> Results:
    """Return what is of one task."""
    rows = partial(rows_of_task, task=task)
    keys = {one["key"] for one in results.records if one["cell"]["task"] == task}
    return replace(
        results,
        cases=rows(results.cases),
        records=[one for one in results.records if one["key"] in keys],
        histories=rows(results.histories),
        similarity=rows(results.similarity),
        attention=rows(results.attention),
        missing=rows(results.missing),
        slices=[one for one in results.slices if one.key in keys],
        conflicts=[],
    )


def rows_of_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the rows of one task."""
    if "task" not in table:
        return table
    return table[(table["task"] == task).to_numpy(bool)].reset_index(drop=True)


def _curves(work: _Work, task: str) -> list[plots.Plot]:
    """Draw how the training of a task went."""
    histories = as_categories(rows_of_task(work.results.histories, task))
    # The loss of another training is on a scale of its own.
    if "protocol" in histories:
        histories = histories[~histories["protocol"].isin(list(work.own_protocols))]
    return [
        *plots.plot_convergence(histories, work.marks, "loss", "Fine-tuning loss"),
        *(
            plot
            for name in numbers_of(histories, "validation")
            for plot in plots.plot_convergence(histories, work.marks, name, _title(name))
        ),
    ]


def as_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns of its runs as categories."""
    return tables.as_categories(table, [name for name in tables.RUN if name in table])


def numbered(found: Sequence[plots.Plot]) -> list[plots.Plot]:
    """Name figures of many tasks anew: ``<kind>-<number>``, so that each name stands once."""
    count: dict[str, int] = {}
    renamed = []
    for plot in found:
        number = count.get(plot.kind, 0)
        count[plot.kind] = number + 1
        renamed.append(replace(plot, name=f"{plot.kind}-{number}"))
    return renamed


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("dice", "Dice")
