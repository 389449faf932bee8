"""What the page computes of each task, which other tasks do not touch: several at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medssl_bench.analysis import classification, tables
from medssl_bench.analysis.leaderboard import cost, pairs, plots, studied
from medssl_bench.analysis.leaderboard.marks import Mark
from medssl_bench.analysis.leaderboard.results import Results, numbers_of
from medssl_bench.analysis.leaderboard.standings import Definition, Key, Standing, standings
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.studies.outcome import Evidence

PER_TASK = ("gaps", "groups", "convergence", "cka", "attention", "corpus-size", "capacity")
"""Analyses that the page shows for each task."""
MANY_ROWS = 100_000
"""Rows of the case table from which tasks are worth processes of their own.

Figures of analyses, which ``bench analyze`` draws too, are then left out: they take the most time.
"""


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

    @property
    def large(self) -> bool:
        return len(self.results.cases) >= MANY_ROWS


_work: _Work | None = None
"""What forked processes take over without copying it."""


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
    global _work
    _work = _Work(results, row_of, marks, own_protocols)
    tasks = sorted({str(record["cell"]["task"]) for record in results.records})
    workers = min(len(tasks), os.cpu_count() or 1)
    try:
        if not _work.large or workers < 2 or not _can_fork():
            return [_part(task) for task in tasks]
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(workers, mp_context=fork) as pool:
            return list(pool.map(_part, tasks))
    finally:
        _work = None


def _can_fork() -> bool:
    return "fork" in multiprocessing.get_all_start_methods()


def _part(task: str) -> TaskPart:
    assert _work is not None
    mine, marks = of_task(_work.results, task), _work.marks
    cases, classed = mine.segmented, mine.classified
    nothing = pd.DataFrame(columns=[*tables.ROW])
    board = tables.leaderboard(cases) if len(cases) else nothing
    classes = classification.leaderboard(classed) if len(classed) else nothing
    costs = cost.costs(mine.records, _work.row_of)
    evidence = studied.evidence_of(mine, wants_figures=not _work.large)
    found = evidence.panels() if len(cases) else []
    return TaskPart(
        task=task,
        board=board,
        classes=classes,
        targets=tables.target_table(cases) if len(cases) else nothing.assign(target=[]),
        standings=standings(cases) if len(cases) else {},
        panels=found,
        pairs=pairs.compare_all(found),
        costs=costs,
        plots=_plots(mine, board, classes, costs, marks, _work.own_protocols),
        studies={
            name: studied.study(_without_curves(evidence, name), name, task) for name in PER_TASK
        }
        if len(cases)
        else {},
    )


def _without_curves(evidence: Evidence, name: str) -> Evidence:
    """Return evidence that draws nothing where the page has the same curves already."""
    return replace(evidence, wants_figures=False) if name == "convergence" else evidence


def of_task(results: Results, task: str) -> Results:
    """Return what is of one task."""

    def rows(table: pd.DataFrame) -> pd.DataFrame:
        if "task" not in table:
            return table
        return table[(table["task"] == task).to_numpy(bool)].reset_index(drop=True)

    keys = {one["key"] for one in results.records if one["cell"]["task"] == task}
    return replace(
        results,
        cases=rows(results.cases),
        records=[one for one in results.records if one["key"] in keys],
        histories=rows(results.histories),
        similarity=rows(results.similarity),
        attention=rows(results.attention),
        slices=[one for one in results.slices if one.key in keys],
        conflicts=[],
    )


def _plots(
    mine: Results,
    board: pd.DataFrame,
    classes: pd.DataFrame,
    costs: Mapping[Key, cost.Cost],
    marks: Mapping[str, Mark],
    own_protocols: frozenset[str],
) -> list[plots.Plot]:
    histories = as_words(mine.histories)
    # The loss of another training is on a scale of its own.
    if "protocol" in histories:
        histories = histories[~np.isin(histories["protocol"], list(own_protocols))]
    return [
        *plots.plot_shots(board, marks),
        *plots.plot_shots(classes, marks, "auc"),
        *plots.plot_convergence(histories, marks, "loss", "Fine-tuning loss"),
        *(
            plot
            for name in numbers_of(histories, "validation")
            for plot in plots.plot_convergence(histories, marks, name, _title(name))
        ),
        *plots.plot_reuse(as_words(mine.similarity), marks),
        *plots.plot_cost(board, costs, marks),
    ]


def as_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns of its runs as text."""
    return tables.as_words(table, [name for name in tables.RUN if name in table])


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
