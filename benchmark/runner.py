"""Runs a plan: prepares what it needs, then works through it in one process or several.

Several processes and nodes may run the same plan on one results folder; they share the work.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.data.digest_index import INDEX
from medssl_bench.interrupt import Interrupted, deaf_children, listen, told
from medssl_bench.preparation import prepare_plan
from medssl_bench.progress import Emit, Relay
from medssl_bench.provenance import available_cores, library_versions
from medssl_bench.registry import load_plugins
from medssl_bench.store import Store
from medssl_bench.worker import Failure, Worker, clear_leftovers

if TYPE_CHECKING:
    from medssl_bench.plan import Plan

STOPPED = 75
"""Exit code of a worker process that was told to stop, and saved what it did (EX_TEMPFAIL)."""


def run_plan(
    plan: Plan, root: Path, cache: Path, workers: int, emit: Emit, cores: int | None = None
) -> list[Failure]:
    """Prepare and run everything a plan misses; returns what failed.

    ``cores`` are shared by the workers; by default all that this process may use.

    Raises:
        BenchError: Something that every record needs is missing.
        Interrupted: Told to stop; the same plan goes on from what was saved.
    """
    library_versions()  # what cannot be recorded is told before hours of training
    clear_leftovers(plan, Store(root))
    prepare_plan(plan, cache, emit)
    if workers <= 1:
        return Worker(plan, root, cache, emit).run()
    context = get_context("spawn")
    events, results = context.Queue(), context.Queue()
    threads = max(1, (cores or available_cores()) // workers)
    # Pickled here, for plugins must be loaded before a plan that holds things of theirs.
    task = (plan.request.plugins, pickle.dumps(plan), root, cache, threads, events, results)
    children = [context.Process(target=_child, args=task, daemon=False) for _ in range(workers)]
    with Relay(events, emit):
        for number, child in enumerate(children):
            with _seeing_gpu(plan, number), deaf_children():
                child.start()
        failures: dict[str, Failure] = {}
        passed_on = False
        try:
            while any(child.is_alive() for child in children) or not results.empty():
                if told() and not passed_on:
                    passed_on = True
                    for child in children:
                        if child.pid is not None and child.is_alive():
                            os.kill(child.pid, signal.SIGUSR1)
                try:
                    failures.update({failure.unit: failure for failure in results.get(timeout=0.5)})
                except queue.Empty:
                    continue
            for child in children:
                child.join()
        except KeyboardInterrupt:
            for child in children:
                child.kill()
            raise
    # One that was still starting up knew no better than to end at the signal.
    if told() and any(child.exitcode == STOPPED or (child.exitcode or 0) < 0 for child in children):
        raise Interrupted(str(told()))
    for child in children:
        if child.exitcode:
            unit = f"worker process {child.pid}"
            failures[unit] = Failure(unit, f"ended with exit code {child.exitcode}")
    done = _recorded_units(plan, Store(root))
    return [failure for failure in failures.values() if failure.unit not in done]


@contextmanager
def _seeing_gpu(plan: Plan, worker: int) -> Iterator[None]:
    """Start a worker so that it sees one GPU alone, the next worker the next one."""
    if plan.compute.device != "cuda" or plan.compute.devices > 1:
        yield
        return
    import torch

    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    gpus = before.split(",") if before else [str(i) for i in range(torch.cuda.device_count())]
    os.environ[name] = gpus[worker % len(gpus)]
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _recorded_units(plan: Plan, store: Store) -> set[str]:
    """Titles of what is recorded by now: one worker may finish what another one failed at."""
    pretrained = {job.title for key, job in plan.starts.items() if store.has_pretraining(key)}
    return pretrained | {planned.title for planned in plan.cells if store.has(planned.cell)}


def _child(
    plugins: Sequence[Path],
    pickled: bytes,
    root: Path,
    cache: Path,
    threads: int,
    events: Any,
    results: Any,
) -> None:
    """Entry of a worker process; it ends when its parent does."""
    import torch

    listen(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    INDEX.use(cache)
    load_plugins(plugins)
    plan: Plan = pickle.loads(pickled)
    torch.set_num_threads(threads)
    parent = os.getppid()

    def follow_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()
    try:
        results.put(Worker(plan, root, cache, events.put).run())
    except Interrupted:
        sys.exit(STOPPED)
