"""Work shared by several processes gives what one process gives, in its order."""

from __future__ import annotations

import os

import pytest

from medssl_bench.analysis.leaderboard.forks import fork_map


def test_answers_come_in_order_and_from_other_processes() -> None:
    table = list(range(100))
    for worth in (False, True):
        found = fork_map(lambda place: (table[place] ** 2, os.getpid()), [5, 3, 9], worth=worth)
        assert [square for square, _ in found] == [25, 9, 81]
        away = worth and (os.cpu_count() or 1) > 1
        assert (os.getpid() not in {process for _, process in found}) == away


def test_an_error_reaches_who_asked_and_the_next_call_works() -> None:
    with pytest.raises(ZeroDivisionError):
        fork_map(lambda number: 1 / number, [1, 0], worth=True)
    assert fork_map(abs, [-1, -2], worth=True) == [1, 2]
