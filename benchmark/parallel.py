"""The same work on many pieces, in as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from medssl_bench.errors import BenchError
from medssl_bench.interrupt import deaf_children
from medssl_bench.provenance import available_cores
from medssl_bench.registry import load_plugins

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def workers_for(cases: int) -> int:
    """Return how many processes are worth starting: each has four cases or more."""
    return max(1, min(available_cores(), cases // 4))


def in_processes(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    workers: int,
    plugins: Sequence[Path],
    title: str,
) -> Iterator[Result]:
    """Yield ``work(piece)`` in the order of pieces; in this process where one worker is enough.

    Raises:
        BenchError: A process was killed; ``title`` says at what.
    """
    if workers == 1:
        yield from map(work, pieces)
        return
    with ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=load_plugins,
        initargs=(tuple(plugins),),
    ) as pool:
        done = 0
        try:
            with deaf_children():
                results = pool.map(work, pieces)
            for result in results:
                yield result
                done += 1
        except BrokenProcessPool:
            raise BenchError(
                f"{title}: a process that reads cases was killed, perhaps for want of memory, after"
                f" {done} of {len(pieces)} pieces of work; run the same command again: what is"
                " written stays"
            ) from None
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
