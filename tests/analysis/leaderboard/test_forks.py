"""Work shared by several processes gives what one process gives, in its order."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from medssl_bench.analysis.leaderboard import results
from medssl_bench.analysis.leaderboard.forks import beside, fork_map
from medssl_bench.analysis.leaderboard.page import build_report


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


def test_jobs_beside_a_block_are_done_when_it_is_left(tmp_path: Path) -> None:
    for worth in (False, True):
        files = [tmp_path / f"{worth}-{place}" for place in range(3)]
        jobs = [lambda file=file: file.write_text(str(os.getpid())) for file in files]
        with beside(jobs, worth=worth):
            pass
        assert all((int(file.read_text()) != os.getpid()) == worth for file in files)


@pytest.mark.parametrize("worth", [False, True])
def test_an_error_of_a_job_or_of_the_block_reaches_who_asked(worth: bool) -> None:
    with pytest.raises(ZeroDivisionError, match="by zero"), beside([lambda: 1 // 0], worth=worth):
        pass
    with pytest.raises(ValueError, match="of the block"), beside([lambda: None] * 9, worth=worth):
        raise ValueError("of the block")
    assert multiprocessing.active_children() == []


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the smallest results worth several processes."""
    monkeypatch.setattr(results, "MANY_ROWS", 0)


def test_a_report_by_several_processes_has_the_same_files(
    results_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    alone = build_report(results_folder, tmp_path / "alone").parent
    request.getfixturevalue("shared")
    several = build_report(results_folder, tmp_path / "several").parent
    files = [
        path.relative_to(alone) for kind in ("data", "tables") for path in alone.glob(f"{kind}/*")
    ]
    assert len(files) > 10
    for file in files:
        if file.name != "leaderboard.json":  # it says when it was made
            assert (alone / file).read_bytes() == (several / file).read_bytes(), file


@pytest.mark.parametrize("file", ["tables/cases.csv", "data/phantom_ct*.js"])
def test_a_file_that_cannot_be_written_ends_the_report(
    results_folder: Path, tmp_path: Path, shared: None, file: str
) -> None:
    page = build_report(results_folder, tmp_path)
    (blocked,) = tmp_path.glob(file)
    page.unlink()
    blocked.unlink()
    blocked.mkdir()
    with pytest.raises(OSError, match=blocked.name):
        build_report(results_folder, tmp_path)
    assert not page.exists()
    assert multiprocessing.active_children() == []
