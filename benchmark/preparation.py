"""Preparation: every volume of a plan into the cache, in parallel, before any training.

Faults of voxels come out here. Each names its file, and stops only what depends on it.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench import interrupt
from medssl_bench.errors import BenchError, DataError, FaultyDataError
from medssl_bench.progress import Emit, Event
from medssl_bench.provenance import available_cores
from medssl_bench.registry import load_plugins

if TYPE_CHECKING:
    from medssl_bench.data.cache import Prepared, VolumeCache
    from medssl_bench.plan import Plan
    from medssl_bench.task import Case, Corpus, Preprocessing, Task


@dataclass(frozen=True)
class PreparedSet:
    """The prepared cases of one task or corpus, and what went wrong with the others."""

    name: str
    cases: Mapping[str, Prepared]
    faults: Mapping[str, str] = field(default_factory=dict)

    def take(self, ids: Sequence[str]) -> list[Prepared]:
        """Return these cases; raises FaultyDataError with the first fault among them."""
        for name in ids:
            if name in self.faults:
                others = sum(1 for other in ids if other in self.faults) - 1
                more = f" (and {others} more cases)" if others else ""
                raise FaultyDataError(f"{self.name}: {self.faults[name]}{more}")
        return [self.cases[name] for name in ids]


def prepare_case(cache: VolumeCache, owner: Task | Corpus, case: Case) -> Prepared:
    """Prepare one case by the rules of its task or corpus; raises DataError."""
    rule, words = rules(owner, case)
    return cache.prepare(case, rule, **words)


def rules(owner: Task | Corpus, case: Case) -> tuple[Preprocessing, dict[str, Any]]:
    """Preprocessing of a case, and the other words that :class:`VolumeCache` wants.

    The modalities of a corpus's case are the channels of one entry, so that a crop of several is
    read from one place.

    Raises:
        DataError: A case of a corpus has no modality or an unknown one, or its modalities are
            prepared differently.
    """
    from medssl_bench.task import Task

    if isinstance(owner, Task):
        words = {"channels": owner.channels, "remap": owner.remap, "classes": owner.classes}
        return owner.preprocessing, words
    channels = tuple(case.images)
    if not channels:
        raise DataError(
            f"{owner.name}: {case.id}: no image of any modality ({', '.join(owner.preprocessing)});"
            " fetch its files, or move the case away"
        )
    for name in channels:
        if name not in owner.preprocessing:
            raise DataError(
                f"{owner.name}: {case.id}: unknown modality {name};"
                f" the corpus has {', '.join(owner.preprocessing)}"
            )
    rule = owner.preprocessing[channels[0]]
    for name in channels[1:]:
        if owner.preprocessing[name] != rule:
            raise DataError(
                f"{owner.name}: {case.id}: {channels[0]} and {name} are prepared differently;"
                " modalities of one case share spacing and intensity rule"
            )
    return rule, {"channels": channels}


def _prepare_many(root: Path, owner: Task | Corpus, cases: Sequence[Case]) -> list[tuple[str, str]]:
    """Prepare a chunk of cases in a child process; return the faults by case id."""
    from medssl_bench.data.cache import VolumeCache
    from medssl_bench.data.digest_index import INDEX

    INDEX.use(root)
    cache, faults = VolumeCache(root), []
    for case in cases:
        try:
            prepare_case(cache, owner, case)
        except DataError as error:
            faults.append((case.id, str(error)))
    return faults


def _begin(plugins: Sequence[Path]) -> None:
    """Start a child process, which ends with its parent: word to stop is for the parent alone."""
    for one in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    load_plugins(plugins)


def prepare_plan(plan: Plan, cache: Path, emit: Emit) -> None:
    """Fill the cache with every case that the plan's missing work needs."""
    for owner, cases in needed_cases(plan):
        prepare_cases(owner, cases, cache, emit, plan.request.plugins)


def prepare_cases(
    owner: Task | Corpus,
    cases: Sequence[Case],
    cache: Path,
    emit: Emit,
    plugins: Sequence[Path] = (),
) -> dict[str, str]:
    """Fill the cache with cases of one task or corpus, in parallel; returns faults by case id.

    What is prepared already is passed over.

    Raises:
        BenchError: A process was killed.
        Interrupted: Told to stop; what is prepared stays.
    """
    title = f"prepare {owner.name}"
    workers = max(1, min(available_cores(), len(cases) // 4))
    size = max(1, min(16, len(cases) // workers))
    chunks = [cases[i : i + size] for i in range(0, len(cases), size)]
    done = 0
    faults: dict[str, str] = {}
    if workers == 1:
        for chunk in chunks:
            faults |= dict(_prepare_many(cache, owner, chunk))
            done += len(chunk)
            emit(Event(title, done, len(cases)))
            interrupt.check()
    else:
        with ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_begin,
            initargs=(tuple(plugins),),
        ) as pool:
            try:
                with interrupt.deaf_children():
                    jobs = {pool.submit(_prepare_many, cache, owner, c): len(c) for c in chunks}
                for job in as_completed(jobs):
                    faults |= dict(job.result())
                    done += jobs[job]
                    emit(Event(title, done, len(cases)))
                    interrupt.check()
            except (interrupt.Interrupted, KeyboardInterrupt):
                pool.shutdown(cancel_futures=True)
                raise
            except BrokenProcessPool:
                raise BenchError(
                    f"{title}: a process that prepares cases was killed, perhaps for want of"
                    f" memory, after {done} of {len(cases)}; run the same command again: what"
                    " is prepared stays"
                ) from None
    note = f"{len(faults)} of {len(cases)} cases are faulty" if faults else ""
    emit(Event(title, done, len(cases), note, "failed" if faults else "done"))
    return faults


def needed_cases(plan: Plan) -> list[tuple[Task | Corpus, tuple[Case, ...]]]:
    """Tasks and corpus of the missing work, with the cases they need."""
    needed: list[tuple[Task | Corpus, tuple[Case, ...]]] = []
    if plan.corpus is not None and plan.missing_pretrainings:
        needed.append((plan.corpus.corpus, plan.corpus.cases))
        if plan.probe is not None:
            needed.append((plan.probe.task, plan.probe.cases))
    for name, found in plan.tasks.items():
        cells = [c for c in plan.missing_cells if c.cell.task == name]
        wanted = set(found.ids("test")) if cells else set()
        for cell in cells:
            wanted |= {*cell.draw.train, *cell.draw.validation}
        if wanted:
            needed.append((found.task, tuple(c for c in found.cases if c.id in wanted)))
    return needed


def open_prepared(owner: Task | Corpus, cases: Sequence[Case], cache: Path) -> PreparedSet:
    """Open prepared cases (building again what is damaged or not there)."""
    from medssl_bench.data.cache import VolumeCache

    store = VolumeCache(cache)
    found: dict[str, Prepared] = {}
    faults: dict[str, str] = {}
    for case in cases:
        try:
            found[case.id] = prepare_case(store, owner, case)
        except DataError as error:
            faults[case.id] = str(error)
    return PreparedSet(owner.name, found, faults)
