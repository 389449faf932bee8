"""All tasks and shots: one ranking with what resampling leaves of it, and means side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medssl_bench.analysis.leaderboard.marks import Mark, row_labels, short
from medssl_bench.analysis.leaderboard.standings import Key, Standing
from medssl_bench.analysis.leaderboard.views import NO_TARGET, Row, Table, Value, number
from medssl_bench.analysis.statistics.bootstrap import percentile_interval, resampled_together
from medssl_bench.analysis.statistics.panel import Panel
from medssl_bench.analysis.statistics.ranks import ranks_of
from medssl_bench.analysis.tables import IDENTITY, ROW, shots_order

ACROSS = [name for name in IDENTITY if name != "protocol"]
"""What a method keeps from task to task; the protocol names the task."""
Across = Callable[[Mapping[str, str]], tuple[str, ...]]
"""Values of ``ACROSS`` of an identity (see :func:`names_across`)."""
RESAMPLES = 2_000
COLUMNS = ["Method", "Mean rank", "95 % by resampling", "First in", "Boards", "Backbone", "Corpus"]
HINTS = {
    "Mean rank": "mean over this table's boards (task and shots) of the rank by mean Dice among the"
    " methods that were compared on all of them; 1 is best",
    "95 % by resampling": "draws, seeds and test cases of each board drawn anew, ranks taken anew",
    "First in": "boards on which it has the best mean of those methods",
    "Boards": "boards it was compared on, of those of this table",
}


ONE_RUN = "one run of each board: test cases alone could be drawn anew, as if training were certain"


@dataclass(frozen=True)
class Group:
    """Boards over which methods have a place: of one backbone and profile."""

    boards: Sequence[tuple[str, str]]
    """Task and shots of each."""
    protocols: Sequence[str]
    whole: bool
    """Whether there are no other boards."""


@dataclass(frozen=True)
class Place:
    """A method's place over all boards of its group."""

    identity: Mapping[str, str]
    mean: float
    low: float
    high: float
    first: int
    boards: int
    group: Group

    @property
    def of(self) -> int:
        """How many boards the group has."""
        return len(self.group.boards)

    @property
    def complete(self) -> bool:
        """Whether it was ranked, which takes every board: fewer ranks have another mean."""
        return np.isfinite(self.mean)


def places(
    found_panels: Sequence[Panel],
    alike: Mapping[str, str],
    resamples: int = RESAMPLES,
    seed: int = 0,
    *,
    others: bool = False,
) -> list[list[Place]]:
    """Return the places of every group, best first, methods that lack a board last.

    A group has a backbone and a profile. Where a task was run with the same shots in two ways, or
    no two methods have all boards, those that were trained alike are a group of their own, and of
    them, where that is not enough, those that share two methods (pretrained on one corpus, say).
    A board that then stands alone is left out while there are others, for its table says it all.

    A method that lacks a board is not ranked: the mean of fewer ranks says something else.

    Args:
        found_panels: Of all tasks and shots.
        alike: Of each protocol what it shares with other tasks'
            (:func:`medssl_bench.analysis.protocols.trained_alike`).
        resamples: Of each board.
        seed: Of the resamples.
        others: Whether there are boards besides, which are not by Dice.
    """
    across = names_across(panel.identities for panel in found_panels)
    groups: dict[tuple[str, ...], list[Panel]] = {}
    for panel in found_panels:
        if len(panel.methods) > 1:
            one = panel.identities[0]
            groups.setdefault((one["backbone"], one["profile"]), []).append(panel)
    found = []
    for number_of_group, group in enumerate(groups.values()):
        parts: dict[str, list[Panel]] = {}
        for panel in group:
            parts.setdefault(alike.get(panel.identities[0]["protocol"], ""), []).append(panel)
        twice = len({(panel.task, panel.shots) for panel in group}) < len(group)
        chosen = [*parts.values()] if twice or len(_complete(group, across)) < 2 else [group]
        chosen = [
            part
            for some in chosen
            for part in ([some] if len(_complete(some, across)) > 1 else _sharing(some, across))
        ]
        if any(len(part) > 1 for part in chosen):
            chosen = [part for part in chosen if len(part) > 1]
        for part in chosen:
            about = Group(
                [(panel.task, panel.shots) for panel in part],
                list(dict.fromkeys(panel.identities[0]["protocol"] for panel in part)),
                whole=len(part) == len(found_panels) and not others,
            )
            start = seed + 1000 * number_of_group
            found.append(_ranked(part, across, resamples, start, about))
    return found


def _sharing(group: Sequence[Panel], across: Across) -> list[list[Panel]]:
    """Part boards so that those which share two methods are together, through others too."""
    parts: list[tuple[list[Panel], list[set[tuple[str, ...]]]]] = []
    for panel in group:
        own = {across(one) for one in panel.identities}
        apart = []
        joined, methods = [panel], [own]
        for some, theirs in parts:
            if any(len(own & one) > 1 for one in theirs):
                joined, methods = [*some, *joined], [*theirs, *methods]
            else:
                apart.append((some, theirs))
        parts = [*apart, (joined, methods)]
    return [some for some, _ in parts]


def _complete(group: Sequence[Panel], across: Across) -> list[tuple[str, ...]]:
    """Return the methods that have every board."""
    keys = Counter(across(one) for panel in group for one in panel.identities)
    return [key for key, count in keys.items() if count == len(group)]


def _ranked(
    group: Sequence[Panel], across: Across, resamples: int, seed: int, about: Group
) -> list[Place]:
    keys = Counter(across(one) for panel in group for one in panel.identities)
    complete = _complete(group, across)
    found = []
    if len(complete) > 1:
        ranks = []
        values: dict[tuple[str, tuple[str, ...]], dict[int, NDArray[np.float64]]] = {}
        for place, panel in enumerate(group):
            order = [across(one) for one in panel.identities]
            chosen = [order.index(key) for key in complete]
            ranks.append(ranks_of(panel.means[None, chosen])[0])
            values.setdefault((panel.task, panel.cases), {})[place] = panel.values[chosen]
        # The boards of a task have their test cases in common.
        sample: dict[int, NDArray[np.float64]] = {}
        for number, tables in enumerate(values.values()):
            drawn = resampled_together([*tables.values()], resamples, seed + number)
            sample |= {place: ranks_of(some) for place, some in zip(tables, drawn, strict=True)}
        samples = [sample[place] for place in range(len(group))]
        means = np.mean(ranks, axis=0)
        low, high = percentile_interval(np.mean(samples, axis=0))
        if all(panel.values.shape[1] * panel.values.shape[2] == 1 for panel in group):
            low, high = np.full((2, len(complete)), np.nan)
        first = (np.array(ranks) == np.min(ranks, axis=1, keepdims=True)).sum(axis=0)
        found = [
            Place(
                dict(zip(ACROSS, key, strict=True)), float(means[i]), float(low[i]),
                float(high[i]), int(first[i]), len(group), about,
            )
            for i, key in enumerate(complete)
        ]  # fmt: skip
    found += [
        Place(dict(zip(ACROSS, key, strict=True)), np.nan, np.nan, np.nan, 0, count, about)
        for key, count in keys.items()
        if len(complete) < 2 or key not in complete
    ]
    return sorted(found, key=lambda one: (not one.complete, one.mean, one.identity["method"]))


def names_across(boards: Iterable[Iterable[Mapping[str, str]]]) -> Across:
    """Return what names a method on all boards, each of which is given by its identities.

    A method may add to fine-tuning on some tasks and have nothing to add on others (templates of MR
    contrasts, on CT): that is one method, unless a board has it both ways, or what it adds differs.
    """
    apart = [name for name in ACROSS if name != "tuning"]

    def base(identity: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(identity[name] for name in apart)

    both: set[tuple[str, ...]] = set()
    added: set[tuple[tuple[str, ...], str]] = set()
    for board in boards:
        ways = {(base(one), one["tuning"]) for one in board}
        both |= {key for key, count in Counter(key for key, _ in ways).items() if count > 1}
        added |= {(key, tuning) for key, tuning in ways if tuning}
    both |= {key for key, count in Counter(key for key, _ in added).items() if count > 1}

    def across(identity: Mapping[str, str]) -> tuple[str, ...]:
        kept = {"tuning": ""} if base(identity) not in both else {}
        return tuple({**identity, **kept}[name] for name in ACROSS)

    return across


def overall_tables(found: Sequence[Sequence[Place]], marks: Mapping[str, Mark]) -> list[Table]:
    """Write the places of each group as a table."""
    return [
        _overall_table(f"overall-{number}" if number else "overall", _caption(group), group, marks)
        for number, group in enumerate(found)
    ]


def _caption(places: Sequence[Place]) -> str:
    """Name a group; where there are other boards, by its backbone, profile, boards, protocols."""
    group, words = places[0].group, places[0].identity
    if group.whole:
        return "Overall, all tasks and shots"
    shots: dict[str, list[str]] = {}
    for task, one in group.boards:
        shots.setdefault(task, []).append(one)
    tasks = "; ".join(f"{task} ({', '.join(known)})" for task, known in shots.items())
    protocols = ", ".join(map(short, group.protocols))
    return f"Overall, {words['backbone']}, {words['profile']}: {tasks}; protocols {protocols}"


def _overall_table(
    name: str, caption: str, found: Sequence[Place], marks: Mapping[str, Mark]
) -> Table:
    labels = row_labels([{**dict.fromkeys(IDENTITY, ""), **one.identity} for one in found])
    rows = []
    for label, one in zip(labels, found, strict=True):
        lacking = Value(
            missing="not ranked: no two methods have every board"
            if one.boards == one.of
            else f"not ranked: it was compared on only {one.boards} of {one.of} boards"
        )
        interval = Value(missing=ONE_RUN)
        if np.isfinite(one.low):
            interval = Value(f"{number(one.low, 2)}\u2013{number(one.high, 2)}", one.low)
        cells = [
            Value(number(one.mean, 2), one.mean) if one.complete else lacking,
            interval if one.complete else lacking,
            Value(f"{one.first} of {one.of}", one.first) if one.complete else lacking,
            Value(f"{one.boards} of {one.of}", one.boards),
            Value(one.identity["backbone"], one.identity["backbone"]),
            Value(one.identity["corpus"]) if one.identity["corpus"] else Value(missing="none"),
        ]
        rows.append(Row(label, marks[one.identity["method"]], cells))
    return Table(
        name, caption, COLUMNS, rows, COLUMNS.index("Mean rank"), ascending=True, hints=HINTS
    )


def matrix_table(
    standings: Mapping[Key, Standing], order: Sequence[Place], marks: Mapping[str, Mark]
) -> Table | None:
    """Write mean Dice of every method (row) on every board (column); None of a single board.

    Args:
        standings: Of each row of the leaderboard, by Dice.
        order: The places by which rows are ordered; what has none follows by name.
        marks: Of each method.
    """
    cells: dict[tuple[str, ...], dict[tuple[str, str], list[Standing]]] = {}
    by_board: dict[tuple[str, str], list[dict[str, str]]] = {}
    for key in standings:
        words = dict(zip(ROW, key, strict=True))
        by_board.setdefault((words["task"], words["shots"]), []).append(words)
    across = names_across(by_board.values())
    for key, standing in standings.items():
        words = dict(zip(ROW, key, strict=True))
        mine = cells.setdefault(across(words), {})
        mine.setdefault((words["task"], words["shots"]), []).append(standing)
    boards = sorted(
        {board for mine in cells.values() for board in mine},
        key=lambda board: (board[0], shots_order(board[1])),
    )
    if len(boards) < 2:
        return None
    placed = [across(one.identity) for one in order]
    rows = sorted(cells, key=lambda one: (placed.index(one) if one in placed else len(placed), one))
    identities = [dict(zip(ACROSS, row, strict=True)) for row in rows]
    labels = row_labels([{**dict.fromkeys(IDENTITY, ""), **one} for one in identities])
    body = [
        Row(label, marks[one["method"]], [_board_value(cells[row].get(board)) for board in boards])
        for label, one, row in zip(labels, identities, rows, strict=True)
    ]
    heads = [f"{task}, {shots}" for task, shots in boards]
    return Table("side-by-side", "Mean Dice by task and shots", ["Method", *heads], body)


def _board_value(found: Sequence[Standing] | None) -> Value:
    if found is None:
        return Value(missing="not run on this task with these shots")
    if len(found) > 1:
        return Value(f"{len(found)} rows", note="by several protocols, in the task's table")
    one = found[0]
    if not np.isfinite(one.mean):
        return Value(missing=NO_TARGET)
    rank = f"rank {one.rank_low}\u2013{one.rank_high} of {one.of}" if one.of else "not ranked"
    return Value(number(one.mean, 3), one.mean, note=rank)
