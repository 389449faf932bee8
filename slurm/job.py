"""What runs on a node: the units of one job, told to stop in time and put back into the queue."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.durable import create_once
from medssl_bench.errors import BenchError
from medssl_bench.slurm.state import done_name

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.progress import Emit
    from medssl_bench.slurm.ledger import Submission

LEFT_SECONDS = 20.0
"""A job requeues itself without another checkpoint when so little of its notice is left."""
REQUEUED, ENDED, KILLED = 75, 1, 128 + signal.SIGKILL
"""Exit codes of a job that put itself back into the queue (EX_TEMPFAIL), of one that did not: it is
ended for good, or the controller did not answer; and of one whose process was killed."""
TRIES, TRY_SECONDS = 20, 3.0
"""How often, and after which pause, a controller that does not answer is asked again."""


class UnitsFailed(Exception):
    """Some units of a job failed; those that need them do not start."""


@dataclass(frozen=True)
class Job:
    """The units of one job of an array; submitit pickles and calls it."""

    submission: Path
    array: int
    task: int
    notice: int
    """Seconds between the signal and the end of the job."""

    def __call__(self) -> str:
        """Run the units; returns a line for the log.

        Raises:
            UnitsFailed: Some failed, so that SLURM does not start what waits for this job.
            BenchError: The submission cannot be carried out here.
        """
        _listen(self.notice)  # first of all: until then a signal ends the process
        _clear_leftovers()
        from medssl_bench.slurm.ledger import read_submission

        submission = read_submission(self.submission)
        stage = submission.arrays[self.array].stage
        asked = submission.site.resources(stage)
        from medssl_bench.interrupt import Interrupted, PeerLost

        try:
            if _restarts() > asked.restarts:
                raise TimeoutError(f"requeued {_restarts()} times, which is more than `restarts`")
            line = self._run(submission, asked.cpus)
            if _rank() == 0:
                _track(submission, self.array, self.task)
            create_once(self.submission / str(self.array) / done_name(self.task), b"")
            return line
        except PeerLost as lost:  # whoever ended of a fault has written it down
            print(lost, flush=True)
            os._exit(KILLED)
        except Interrupted as stopped:
            print(f"{stopped}; to be requeued", flush=True)
            _stop()
            raise AssertionError("unreachable") from stopped
        except Exception as error:
            self._note(submission, error)
            raise

    def _note(self, submission: Submission, error: Exception) -> None:
        """Write down why units are not done, where nobody did, and that the job ended by itself."""
        from medssl_bench.failures import note_failure, read_failures, slurm_job

        noted = {note.key for note in read_failures(submission.root) if note.job == slurm_job()}
        for unit in submission.arrays[self.array].jobs[self.task]:
            if unit.name not in noted and not isinstance(error, UnitsFailed):
                note_failure(submission.root, unit.title, error, unit.name)
        with suppress(OSError):  # the disk may be full
            (self.submission / str(self.array) / f"{slurm_job()}.failed").touch()

    def _run(self, submission: Submission, cpus: int) -> str:
        """Carry out the units, alone or together with the other processes of the job."""
        import torch

        from medssl_bench.data.digest_index import INDEX
        from medssl_bench.devices import Ensemble
        from medssl_bench.freshness import check_fresh
        from medssl_bench.progress import Progress
        from medssl_bench.runner import run_plan

        torch.set_num_threads(cpus)
        array = submission.arrays[self.array]
        units = array.jobs[self.task]
        plan = submission.plan()
        check_compute(plan)
        INDEX.use(submission.cache)
        root = submission.root
        prepares = [unit.name for unit in units if unit.stage == "prepare"]
        if prepares:
            with Progress(plain=True) as progress:
                faults = _prepare(plan, prepares, submission.cache, progress.emit)
            what = ", ".join(unit.title for unit in units)
            return what + (f": {faults} cases are faulty" if faults else "")
        keys = {unit.name.partition("-")[2] for unit in units}
        pretrains = array.stage == "pretrain"
        part = plan.only_starts(keys) if pretrains else plan.only_cells(keys)
        check_fresh(part)
        workers = 1 if pretrains else submission.site.resources(array.stage).per_gpu
        with Ensemble.of_job(part.compute) as together, Progress(plain=True) as progress:
            if together is not None and not together.leads:
                together.follow()
                return "followed the first process"

            workers = min(workers, len(units))
            failures = run_plan(part, root, submission.cache, workers, progress.emit, cores=cpus)
            if failures:
                raise UnitsFailed("; ".join(f"{f.unit}: {f.reason}" for f in failures))
        return f"recorded {len(units)} of {len(units)}"


def _prepare(plan: Plan, names: list[str], cache: Path, emit: Emit) -> int:
    """Fill the cache with these data sets; returns how many cases are faulty.

    A faulty case is no failure of this job: only cells that need the case fail, and say why.
    """
    from medssl_bench.preparation import needed_cases, prepare_cases
    from medssl_bench.slurm.arrays import preparation_name

    faults = 0
    for owner, cases in needed_cases(plan):
        if preparation_name(owner.name, cases) in names:
            faults += len(prepare_cases(owner, cases, cache, emit, plan.request.plugins))
    return faults


def check_compute(plan: Plan) -> None:
    """Refuse a node that would compute in another way than was planned for.

    Raises:
        BenchError: No GPU where one was planned for, or another precision than ``auto`` meant.
    """
    from medssl_bench.training import resolve_device, resolve_precision

    resolve_device(plan.compute.device)
    asked = plan.settings.precision
    found = resolve_precision(asked, plan.compute.device)
    if found != plan.compute.precision:
        raise BenchError(
            f"precision auto is {found} on {os.uname().nodename}, and {plan.compute.precision} was"
            " planned; name one: --set precision=32-true"
        )


def _track(submission: Submission, array: int, task: int) -> None:
    """Copy what the job recorded to MLflow where that is a server; a fault of it stops nothing.

    Without a server nothing is written here: a file of SQLite is no place for many nodes.
    """
    from medssl_bench.tracking import has_server, sync

    if submission.settings.get("tracking") and has_server():
        keys = {unit.name.partition("-")[2] for unit in submission.arrays[array].jobs[task]}
        try:
            sync(submission.root, keys)
        except Exception as error:
            print(f"tracking: {type(error).__name__}: {error}; `bench sync` later", flush=True)


def _clear_leftovers() -> None:
    """Remove half-written outcomes of an earlier run of this job, which submitit trips over."""
    from submitit import JobEnvironment

    paths = JobEnvironment().paths
    for path in (paths.result_pickle, paths.submitted_pickle):
        path.with_suffix(path.suffix + ".save_tmp").unlink(missing_ok=True)


def _rank() -> int:
    return int(os.environ.get("SLURM_PROCID", "0"))


def _restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _listen(notice: int) -> None:
    """Stop at the end of a step on a signal; without it, shortly before the notice is over."""
    from medssl_bench import interrupt

    def hurry(heard: signal.Signals) -> None:
        if heard == signal.SIGTERM:  # what follows is not ours to delay
            return
        timer = threading.Timer(max(notice - LEFT_SECONDS, notice / 2), _stop)
        timer.daemon = True
        timer.start()

    interrupt.listen(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, then=hurry)


def _stop() -> None:
    """Requeue this job, unless it is being ended for good, and end this process.

    Of a job's processes the first one does so; the others wait until SLURM ends them.
    """
    from medssl_bench.failures import slurm_job
    from medssl_bench.slurm.queue import ENDING, requeue, state_of

    if _rank():
        threading.Event().wait()
    job, code = str(slurm_job()), ENDED
    for _ in range(TRIES):
        try:
            if state_of(job) not in ENDING:
                requeue(job)
                code = REQUEUED
            break
        except BenchError as error:  # the controller may be starting again
            print(error, file=sys.stderr, flush=True)
            time.sleep(TRY_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
