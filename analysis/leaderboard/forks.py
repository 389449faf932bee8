"""The same work on many items, by one process a core where it is worth that."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")
MANY_ROWS = 100_000
"""Rows of the case table from which tasks are worth processes of their own."""
_work: Callable[[Any], Any] | None = None
"""What forked processes take over, with all that it holds, without copying it."""


@contextmanager
def without_collector() -> Iterator[None]:
    """Let no garbage be looked for among what lives: 20,000 records are millions of objects.

    Each round visits all of them, and in a forked process writes to, and so copies, their memory.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def fork_map(work: Callable[[Item], Answer], items: Sequence[Item], worth: bool) -> list[Answer]:
    """Return ``work`` of each item, in order.

    Args:
        work: May be of any kind, as a closure over large tables; only answers are sent.
        items: What it is called with.
        worth: Whether there is enough to do for several processes.
    """
    workers = min(len(items), os.cpu_count() or 1)
    if not _forks(worth and workers > 1):
        return [work(item) for item in items]
    with _pool(work, workers) as pool:
        return list(pool.map(_call, items))


@contextmanager
def beside(jobs: Sequence[Callable[[], None]], worth: bool) -> Iterator[None]:
    """Do the jobs, of any kind, while the ``with`` block runs; an error of either ends both.

    Where forked processes are not worth it, the jobs come first.
    """
    workers = min(len(jobs), os.cpu_count() or 1)
    if not _forks(worth):
        for job in jobs:
            job()
        yield
        return
    with _pool(lambda place: jobs[place](), workers) as pool:
        found = [pool.submit(_call, place) for place in range(len(jobs))]
        try:
            yield
            for one in found:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _forks(worth: bool) -> bool:
    return worth and "fork" in multiprocessing.get_all_start_methods()


@contextmanager
def _pool(work: Callable[[Any], Any], workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes that have what there is now; they are gone when the block is left."""
    global _work
    _work = work
    try:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            yield pool
    finally:
        _work = None


def _call(item: Any) -> Any:
    assert _work is not None
    return _work(item)
