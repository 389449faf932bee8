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
    global _work
    workers = min(len(items), os.cpu_count() or 1)
    if not worth or workers < 2 or "fork" not in multiprocessing.get_all_start_methods():
        return [work(item) for item in items]
    _work = work
    try:
        fork = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(workers, mp_context=fork) as pool:
            return list(pool.map(_call, items))
    finally:
        _work = None


def _call(item: Any) -> Any:
    assert _work is not None
    return _work(item)
