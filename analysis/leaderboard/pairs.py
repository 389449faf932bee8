"""Every pair of methods: is the difference real, how large is it, on how many cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medssl_bench.analysis.leaderboard.overview import row_id
from medssl_bench.analysis.leaderboard.views import Row, Table, Value, number, shots_text
from medssl_bench.analysis.statistics.answer import OF_DIFFERENCES, Answer, settled
from medssl_bench.analysis.statistics.crossed import compare_drawn
from medssl_bench.analysis.statistics.multiplicity import holm
from medssl_bench.analysis.statistics.paired import compare_checkpoints, rank_biserial
from medssl_bench.analysis.statistics.panel import AREA, Panel
from medssl_bench.analysis.studies.outcome import cell, digits_of
from medssl_bench.analysis.tables import ROW

RETRAINING = "draw \u00d7 case test: would training again differ too?"
CHECKPOINTS = "Wilcoxon by case: do these checkpoints differ? (one draw)"
AREAS = {
    True: "draw \u00d7 case test on DeLong's placements: would training again differ too?",
    False: "DeLong, with t for its quantiles: do these checkpoints differ? (one draw)",
}
"""By whether there are several draws."""
OF_A_SET = "an AUC belongs to a test set, not to a case"
WORDS = {"dice": "Dice", "hd95": "HD95 (mm)", AREA: "AUC"}
"""The metrics that pairs are compared by."""
COLUMNS = ["First", "Second", "Difference", "p", "Adjusted p", "Wins", "Ties", "Losses", "Effect"]
HINTS = {
    "Mean difference": "mean of the first minus that of the second, with its 95 % interval",
    "Median difference": "median over cases of the first minus the second, with its"
    " distribution-free 95 % interval",
    "Adjusted p": "by Holm, over all pairs of this table",
    "Wins": "test cases on which the first is better, draws and seeds averaged",
    "Effect": "paired rank-biserial: 1 where the first is better on every case, \u22121 on none",
}


@dataclass(frozen=True)
class Pair:
    """Two rows of the leaderboard, compared on the same draws, seeds and cases."""

    first: str
    second: str
    first_id: str
    second_id: str
    mean: float
    low: float
    high: float
    p: float
    p_adjusted: float
    wins: int | None
    """Cases on which the first is better; None of an AUC, as ``ties`` and ``losses``."""
    ties: int | None
    losses: int | None
    effect: float
    """Positive where the first is better."""
    reason: str


@dataclass(frozen=True)
class Board:
    """All pairs of one task, shots and protocol, by one metric of ``WORDS``."""

    metric: str
    task: str
    shots: str
    protocol: str
    test: str
    statistic: str
    """What the differences are: of means, or the median over cases."""
    pairs: Sequence[Pair]
    left_out: Sequence[str]


def compare_all(found: Sequence[Panel]) -> list[Board]:
    """Compare every pair of every panel by the test that ``bench analyze`` takes there."""
    return [_board(panel) for panel in found if len(panel.methods) > 1]


def _board(panel: Panel) -> Board:
    panel = panel.best_first()
    several, of_a_set = len(panel.draws) > 1, panel.metric == AREA
    ids = [
        row_id(tuple({**one, "task": panel.task, "shots": panel.shots}[name] for name in ROW))
        for one in panel.identities
    ]
    means = panel.case_means
    firsts, seconds = np.array(panel.pairs).T
    answers: list[Answer] = (
        compare_drawn(panel.crossed[firsts] - panel.crossed[seconds])
        if several or of_a_set
        else compare_checkpoints(means[firsts] - means[seconds])
    )
    adjusted = holm([answer.p for answer in answers])
    sign = 1 if panel.higher_is_better else -1
    betters = sign * settled(means[firsts] - means[seconds], OF_DIFFERENCES)
    effects = rank_biserial(betters)
    found = []
    for (first, second), answer, p, better, effect in zip(
        panel.pairs, answers, adjusted.tolist(), betters, effects.tolist(), strict=True
    ):
        counts = [int(some.sum()) for some in (better > 0, better == 0, better < 0)]
        wins, ties, losses = [None] * 3 if of_a_set else counts
        found.append(
            Pair(
                panel.methods[first], panel.methods[second], ids[first], ids[second],
                answer.difference, answer.low, answer.high, answer.p, p,
                wins, ties, losses, np.nan if of_a_set else effect, answer.reason,
            )
        )  # fmt: skip
    test = AREAS[several] if of_a_set else RETRAINING if several else CHECKPOINTS
    return Board(
        panel.metric, panel.task, panel.shots, panel.protocol, test,
        "Mean difference" if several or of_a_set else "Median difference", found, panel.left_out,
    )  # fmt: skip


def pair_tables(boards: Sequence[Board]) -> list[tuple[Board, Table]]:
    """Write each board's pairs as a table."""
    return [(board, _table(index, board)) for index, board in enumerate(boards)]


def _table(index: int, board: Board) -> Table:
    columns = [board.statistic if name == "Difference" else name for name in COLUMNS]
    rows = [
        Row(
            one.first,
            None,
            [
                Value(one.second, one.second),
                _difference(one, digits_of(board.metric)),
                Value(cell("p", one.p, 3), one.p) if one.p == one.p else _missing(one),
                Value(cell("p", one.p_adjusted, 3), one.p_adjusted)
                if one.p_adjusted == one.p_adjusted
                else _missing(one),
                *(
                    Value(missing=OF_A_SET) if count is None else Value(str(count), count)
                    for count in (one.wins, one.ties, one.losses)
                ),
                Value(number(one.effect, 2, signed=True), one.effect)
                if one.effect == one.effect
                else Value(missing=OF_A_SET)
                if one.wins is None
                else _missing(one),
            ],
        )
        for one in board.pairs
    ]
    caption = f"{WORDS[board.metric]}: {board.task}, {shots_text(board.shots)}, {board.protocol}"
    notes = [board.test, *(f"left out: {line}" for line in board.left_out)]
    return Table(f"pairs-{index}", caption, columns, rows, hints=HINTS, notes=notes)


def _difference(one: Pair, digits: int) -> Value:
    text, low, high = (number(end, digits, signed=True) for end in (one.mean, one.low, one.high))
    if one.low == one.low and one.high == one.high:
        text += f" [{low}, {high}]"
    return Value(text, one.mean)


def _missing(one: Pair) -> Value:
    return Value(missing=one.reason or "not computable")


def plain(board: Board) -> dict[str, Any]:
    """Return a board for the page's script."""
    return {
        "metric": board.metric,
        "shots": board.shots,
        "protocol": board.protocol,
        "test": board.test,
        "statistic": board.statistic,
        "pairs": [_plain(one) for one in board.pairs],
    }


def _plain(one: Pair) -> Mapping[str, Any]:
    numbers = {
        name: None if value != value else float(f"{value:.6g}")
        for name, value in vars(one).items()
        if isinstance(value, float)
    }
    return {
        "a": one.first_id,
        "b": one.second_id,
        **numbers,
        "wins": one.wins,
        "ties": one.ties,
        "losses": one.losses,
        "reason": one.reason,
    }
