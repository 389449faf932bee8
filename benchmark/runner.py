"""Runs a plan: claims each missing unit of work, computes it, records it.

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench import interrupt
from medssl_bench.claims import Claim, ClaimLost
from medssl_bench.data.digest_index import INDEX
from medssl_bench.errors import CaseError
from medssl_bench.failures import ADVICE, FailureClass, forget_failure, note_failure
from medssl_bench.interrupt import Interrupted, listen, told
from medssl_bench.networks.memory import keep_freed_memory
from medssl_bench.peak import start_peak
from medssl_bench.preparation import PreparedSet, open_prepared, prepare_plan
from medssl_bench.progress import Emit, Event, Relay
from medssl_bench.provenance import available_cores, git_state
from medssl_bench.registry import load_plugins
from medssl_bench.store import Store

if TYPE_CHECKING:
    import torch

    from medssl_bench.data.cache import Prepared
    from medssl_bench.imports import ImportJob
    from medssl_bench.method import Tuning
    from medssl_bench.plan import Plan, PlannedCell
    from medssl_bench.stages.evaluate import Evaluation
    from medssl_bench.stages.finetune import FinetuneJob
    from medssl_bench.stages.pretrain import PretrainJob, ProbeCases

STALE_SECONDS = 300.0
"""A claim without a sign of life for this long may be taken over."""


@dataclass(frozen=True)
class Failure:
    """One unit of work that could not be finished, and why."""

    unit: str
    reason: str
    kind: FailureClass | None = None
    """None where it is not itself at fault: what it needs has failed, or its process ended."""

    def as_json(self) -> dict[str, str | None]:
        """Describe it as plain data, with what to do."""
        advice = ADVICE[self.kind] if self.kind else None
        return {"unit": self.unit, "reason": self.reason, "class": self.kind, "advice": advice}


STOPPED = 75
"""Exit code of a worker process that was told to stop, and saved what it did (EX_TEMPFAIL)."""


def run_plan(
    plan: Plan, root: Path, cache: Path, workers: int, emit: Emit, cores: int | None = None
) -> list[Failure]:
    """Prepare and run everything a plan misses; returns what failed.

    ``cores`` are shared by the workers; by default all that this process may use.

    Raises:
        Interrupted: Told to stop; the same plan goes on from what was saved.
    """
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
            with _seeing_gpu(plan, number):
                child.start()
        failures: dict[str, Failure] = {}
        passed_on = False
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


def clear_leftovers(plan: Plan, store: Store) -> None:
    """Remove checkpoints left by a kill between recording a unit and giving up its claim."""
    names = [f"cell-{c.cell.key}" for c in plan.cells if c.cell.key in plan.recorded]
    names += [f"pretraining-{key}" for key in plan.pretrained if store.has_pretraining(key)]
    for name in names:
        if (store.work / name).exists():
            claim = Claim.acquire(store.work, name, stale_after=STALE_SECONDS)
            if claim is not None:
                claim.release(done=True)


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
    except KeyboardInterrupt:  # it reaches every process, and the parent says so in one line
        sys.exit(130)


class Worker:
    """One process working through a plan."""

    def __init__(self, plan: Plan, root: Path, cache: Path, emit: Emit) -> None:
        """Open the store; volumes are opened when first needed."""
        self.plan, self.cache, self.emit = plan, cache, emit
        self.store = Store(root)
        if plan.compute.device == "cpu":
            keep_freed_memory()
        git_state()  # asked now, so that a commit made while this runs is not recorded
        self._tasks: dict[str, PreparedSet] = {}

    def run(self) -> list[Failure]:
        """Work until every unit is recorded or has failed; returns the failures."""
        failures: dict[str, Failure] = {}
        jobs = {job.key: job for job in self.plan.missing_starts}
        cells = {planned.cell.key: planned for planned in self.plan.missing_cells}
        while jobs or cells:
            interrupt.check()
            moved = False
            for key, job in list(jobs.items()):
                outcome = self._try(
                    f"pretraining-{key}",
                    job.title,
                    lambda key=key: self.store.has_pretraining(key),  # type: ignore[misc]
                    lambda claim, job=job: self._start(job, claim),  # type: ignore[misc]
                )
                if outcome is not None:
                    moved = True
                    del jobs[key]
                    if isinstance(outcome, Failure):
                        failures[key] = outcome
            for key, planned in list(cells.items()):
                needs = planned.cell.pretraining
                if needs in failures:
                    failures[key] = Failure(planned.title, f"needs: {failures[needs].unit}")
                    self.emit(Event(planned.title, note=failures[key].reason, state="failed"))
                    moved = True
                    del cells[key]
                    continue
                if needs in jobs:
                    continue
                outcome = self._try(
                    f"cell-{key}",
                    planned.title,
                    lambda planned=planned: self.store.has(planned.cell),  # type: ignore[misc]
                    lambda claim, planned=planned: self._cell(planned, claim),  # type: ignore[misc]
                )
                if outcome is not None:
                    moved = True
                    del cells[key]
                    if isinstance(outcome, Failure):
                        failures[key] = outcome
                if jobs:
                    break  # a pretraining may have become free or finished meanwhile
            if not moved:
                time.sleep(1.0)
        return list(failures.values())

    def _try(
        self,
        name: str,
        title: str,
        recorded: Callable[[], bool],
        work: Callable[[Claim], str],
    ) -> Failure | bool | None:
        """Do one unit if it is free: True when recorded, a Failure, or None while others do it."""
        if recorded():
            return True
        claim = Claim.acquire(self.store.work, name, stale_after=STALE_SECONDS, title=title)
        if claim is None:
            return None
        try:
            if recorded():
                claim.release(done=True)
                return True
            note = work(claim)
            claim.release(done=True)
            forget_failure(self.store.root, title, name)
            self.emit(Event(title, note=note, state="done"))
            return True
        except ClaimLost:
            claim.release(done=False)
            return None
        except (Interrupted, KeyboardInterrupt):
            with suppress(OSError):  # the disk may be full; the claim expires
                claim.release(done=False)
            raise
        except Exception as error:
            noted = note_failure(self.store.root, title, error, name)
        # Without a checkpoint there is nothing to go on from, and nothing unfinished.
        claim.release(done=not any(claim.checkpoint_folder.glob("*")))
        reason = f"{noted.reason} (see {noted.path})" if noted.trace else noted.reason
        self.emit(Event(title, note=reason, state="failed"))
        return Failure(title, reason, noted.kind)

    @cached_property
    def _corpus(self) -> PreparedSet:
        assert self.plan.corpus is not None
        return open_prepared(self.plan.corpus.corpus, self.plan.corpus.cases, self.cache)

    def _task(self, name: str) -> PreparedSet:
        if name not in self._tasks:
            found = self.plan.tasks[name]
            wanted = set(found.ids("test"))
            for planned in self.plan.missing_cells:
                if planned.cell.task == name:
                    wanted |= {*planned.draw.train, *planned.draw.validation}
            cases = [case for case in found.cases if case.id in wanted]
            self._tasks[name] = open_prepared(found.task, cases, self.cache)
        return self._tasks[name]

    def _start(self, job: PretrainJob | ImportJob, claim: Claim) -> str:
        """Make the encoder that cells start from."""
        from medssl_bench.stages.pretrain import PretrainJob

        if isinstance(job, PretrainJob):
            return self._pretrain(job, claim)
        return self._import(job, claim)

    def _import(self, job: ImportJob, claim: Claim) -> str:
        from medssl_bench.recording import record_import
        from medssl_bench.stages.import_encoder import import_encoder

        start_peak(self.plan.compute.device)
        imported = import_encoder(job)
        claim.check()
        record_import(self.plan, job, imported, self.store)
        return f"{imported.match} (layout {imported.weights.layout})"

    def _pretrain(self, job: PretrainJob, claim: Claim) -> str:
        from medssl_bench.recording import record_pretraining
        from medssl_bench.stages.pretrain import Supplies, pretrain

        assert self.plan.corpus is not None
        start_peak(self.plan.compute.device)
        volumes = self._corpus.take([case.id for case in self.plan.corpus.cases])
        supplies = Supplies(
            volumes,
            claim.checkpoint_folder,
            claim.held.check,
            self.plan.settings.checkpoint_minutes * 60,
            self._probe_cases(),
        )
        outcome = pretrain(job, supplies, self.plan.compute, self.emit, self.plan.request.plugins)
        claim.check()
        record_pretraining(self.plan, job, outcome, self.store)
        return f"loss {outcome.history[-1]['loss']:.4f} in {outcome.seconds / 60:.1f} min"

    def _probe_cases(self) -> ProbeCases | None:
        """Open what pretraining is followed by, if anything."""
        from medssl_bench.stages.pretrain import ProbeCases

        found = self.plan.probe
        if found is None:
            return None
        prepared = open_prepared(found.task, found.cases, self.cache)
        return ProbeCases(prepared.take(found.ids("train")), len(found.task.classes))

    def _own(self, planned: PlannedCell, claim: Claim) -> str:
        """Run a cell whose method brings a training of its own."""
        import torch

        from medssl_bench.keys import method_config
        from medssl_bench.own_training import OwnJob
        from medssl_bench.record import utc_now
        from medssl_bench.recording import record_own_cell
        from medssl_bench.registry import methods
        from medssl_bench.stages.evaluate import evaluate_label_maps

        started = utc_now()
        settings, cell = self.plan.settings, planned.cell
        found, prepared = self.plan.tasks[cell.task], self._task(cell.task)
        prepared.take(planned.draw.train)  # raises what is wrong with their voxels
        tests = prepared.take(found.ids("test"))
        cases = {case.id: case for case in found.cases}
        job = OwnJob(
            title=planned.title,
            task=found.task,
            train=[cases[name] for name in planned.draw.train],
            tests=[cases[case.id] for case in tests],
            config=method_config(cell.method, settings.methods.get(cell.method, {})),
            seed=cell.seed,
            device=self.plan.compute.device,
            threads=torch.get_num_threads(),
            work=claim.checkpoint_folder,
            plugins=self.plan.request.plugins,
        )

        def go_on() -> None:
            interrupt.check()
            claim.check()

        result = methods.load(cell.method).run(job, self.emit, go_on)
        began = time.monotonic()
        evaluation = evaluate_label_maps(
            result.predictions,
            tests,
            cases,
            found.task,
            settings.evaluate,
            planned.title,
            self.emit,
            settings.example_slices,
            settings.keep_predictions,
        )
        claim.check()
        seconds = result.train_seconds + result.other_seconds + time.monotonic() - began
        return record_own_cell(
            self.plan, planned, job, result, evaluation, started, seconds, self.store
        )

    def _cell(self, planned: PlannedCell, claim: Claim) -> str:
        if planned.own_training:
            return self._own(planned, claim)
        from medssl_bench.record import utc_now
        from medssl_bench.recording import record_cell
        from medssl_bench.stages.finetune import FinetuneJob, build_model, finetune
        from medssl_bench.stages.missing import evaluate_missing

        start_peak(self.plan.compute.device)
        started = utc_now()
        began = time.monotonic()
        settings, cell = self.plan.settings, planned.cell
        found, prepared = self.plan.tasks[cell.task], self._task(cell.task)
        train = prepared.take(planned.draw.train)
        held_out = prepared.take(planned.draw.validation)
        tests = prepared.take(found.ids("test"))
        state = None if cell.pretraining == "none" else self.store.read_weights(cell.pretraining)
        job = FinetuneJob(
            title=planned.title,
            task=found.task,
            backbone=cell.backbone,
            shots=cell.shots,
            seed=cell.seed,
            settings=settings.finetune,
            evaluation=settings.evaluate,
            select=settings.select,
            truth=found.truth,
            tuning=self._tuning(planned),
        )
        tuned = finetune(
            job,
            train,
            held_out,
            state,
            self.plan.compute,
            claim.checkpoint_folder,
            self.emit,
            claim.check,
            settings.checkpoint_minutes * 60,
        )
        trained = time.monotonic() - began
        result = self._evaluate(job, tuned.model, tests)
        reuse = None
        if settings.similarity.groups:
            from medssl_bench.stages.similarity import measure_similarity

            reuse = measure_similarity(
                build_model(job, state).get_submodule("encoder"),
                tuned.model.get_submodule("encoder"),
                tests,
                job.crop,
                settings.similarity,
                self.plan.compute.fabric().device,
                planned.title,
                self.emit,
            )
        missing = evaluate_missing(
            tests,
            job.task.channels,
            settings.missing_channels,
            job.tuning,
            lambda cases, words: self._evaluate(job, tuned.model, cases, words),
        )
        claim.check()
        seconds = tuned.seconds + (time.monotonic() - began - trained)
        return record_cell(
            self.plan, planned, tuned, result, reuse, missing, started, seconds, self.store
        )

    def _tuning(self, planned: PlannedCell) -> Tuning | None:
        """Build what the cell's method adds to the common fine-tuning.

        Raises:
            CaseError: It is no longer what was planned, and what the record would say.
        """
        cell, settings = planned.cell, self.plan.settings
        if not cell.tuning:
            return None
        from medssl_bench.export import pretrained_spacing
        from medssl_bench.keys import method_config
        from medssl_bench.registry import methods

        task = self.plan.tasks[cell.task].task
        config = method_config(cell.method, settings.methods.get(cell.method, {}))
        kind, crop = methods.load(cell.method), settings.finetune.crop_of(task)
        modalities = self.plan.corpus.modalities if self.plan.corpus else frozenset()
        words = kind.tuning_words(config, task.known_contrasts, modalities, crop)
        if words != cell.tuning:
            raise CaseError(
                f"{planned.title}: planned with {cell.tuning!r} in fine-tuning, which is now"
                f" {words or 'nothing'!r}: files changed since; give the command again"
            )
        info = self.store.read_pretraining_info(cell.pretraining)
        tuning: Tuning = kind.tuning(
            config,
            task.known_contrasts,
            self.store.read_extras(cell.pretraining),
            pretrained_spacing(info),
            crop,
        )
        return tuning

    def _evaluate(
        self,
        job: FinetuneJob,
        model: torch.nn.Module,
        tests: Sequence[Prepared],
        reduced: str = "",
    ) -> Evaluation:
        """Measure the test cases of a task by what it asks for; ``reduced`` ones give no files."""
        from medssl_bench.stages.classify import classify
        from medssl_bench.stages.evaluate import evaluate

        settings, fabric = self.plan.settings, self.plan.compute.fabric()
        title = f"{job.title} {reduced}".strip()
        if job.task.classifies:
            return classify(model, tests, job.truth, job.task, fabric, title, self.emit)
        return evaluate(
            model,
            tests,
            job.task,
            job.crop,
            settings.evaluate,
            fabric,
            title,
            self.emit,
            0 if reduced else settings.example_slices,
            settings.keep_predictions and not reduced,
        )
