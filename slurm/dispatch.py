"""Hands a plan to SLURM: arrays of jobs by submitit, each after what it needs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.claims import Claim
from medssl_bench.errors import BenchError
from medssl_bench.progress import Emit, Event
from medssl_bench.slurm.arrays import Array, Unit, arrange, preparation_name, units_of, waiting_for
from medssl_bench.slurm.cluster import Cluster, ask_cluster, check_site
from medssl_bench.slurm.job import Job
from medssl_bench.slurm.ledger import FOLDER, Submission, submissions, write_submission
from medssl_bench.slurm.queue import QueuedJob, job_name, live_jobs

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.slurm.site import Resources, Site

STALE_SECONDS = 120.0
"""A process elsewhere that submits and was silent for this long is gone."""
LOCAL_FILE_SYSTEMS = {"tmpfs", "ramfs", "ext2/ext3", "xfs", "btrfs", "overlayfs"}
"""As ``stat --file-system`` calls what one machine has alone, unless it exports it."""


@dataclass(frozen=True)
class Submitted:
    """What came of handing a plan over."""

    submission: Submission | None
    """None: there was nothing to submit."""
    jobs: dict[int, list[str]] = field(default_factory=dict)
    """Ids of the jobs of each array."""
    lines: list[str] = field(default_factory=list)
    """What to tell the user."""


def submit(
    plan: Plan,
    root: Path,
    cache: Path,
    site: Site,
    emit: Emit,
    *,
    sweep: str | None = None,
    changed: bool = False,
    only: Collection[str] | None = None,
    again: Submission | None = None,
) -> Submitted:
    """Submit what a plan misses and no job of this results folder does already.

    ``sweep`` is the name of the experiment: unfinished work of the same name under other settings
    is refused, unless ``changed`` says that this is meant. ``only`` names the units that are
    submitted; ``again`` is the submission whose plan this is.

    Raises:
        BenchError: No SLURM here, a site that the cluster would refuse, another process that
            submits at the moment, or changed settings.
    """
    cluster = ask_cluster()
    if findings := check_site(site, cluster):
        more = f" (and {len(findings) - 1} more: bench doctor --site)" if len(findings) > 1 else ""
        raise BenchError(f"site {site.name}: {findings[0]}{more}")
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    claim = Claim.acquire(root / FOLDER / "work", "dispatch", stale_after=STALE_SECONDS)
    if claim is None:
        raise BenchError(f"{root / FOLDER}: another process submits at the moment; try again")
    try:
        earlier = submissions(root)
        if sweep is not None and not changed:
            _refuse_changes(plan, sweep, [e for e in earlier if e.sweep == sweep], root)
        live = live_units(earlier, live_jobs())
        units = units_of(plan, unprepared_sets(plan, cache, emit))
        if only is not None:
            wanted = _with_needs(units, only)
            units = [unit for unit in units if unit.name in wanted]
        arrays = arrange(units, live, site, cluster.max_array)
        busy = sum(unit.name in live for unit in units)
        notes = [f"{busy} of {len(units)} units are queued or running already"] if busy else []
        if not arrays:
            what = "everything is queued or running" if units else "everything is recorded"
            return Submitted(None, lines=[f"nothing to submit: {what}"])
        submission = write_submission(
            root,
            plan,
            arrays,
            site,
            cache=cache,
            cluster=cluster.name,
            command=again.command if again else shlex.join(["bench", *sys.argv[1:]]),
            working_folder=again.working_folder if again else Path.cwd(),
            sweep=sweep,
        )
        jobs = _hand_over(submission, live, claim, emit)
    finally:
        claim.release(done=True)
    for number, ids in jobs.items():
        stage = arrays[number].stage
        count = sum(map(len, arrays[number].jobs))
        jobs_of = "1 job" if len(ids) == 1 else f"{len(ids)} jobs"
        what = "1 unit" if count == 1 else f"{count} units"
        notes.append(f"{stage}: {what} in {jobs_of}: {_span(ids)}")
    return Submitted(submission, jobs, [*notes, *unseen(root, cluster)])


def live_units(earlier: Sequence[Submission], jobs: Sequence[QueuedJob]) -> dict[str, QueuedJob]:
    """Return which unit is queued or running, and by which job.

    A job whose need has failed never starts: its units are free to be submitted again.
    """
    known = {submission.id: submission for submission in earlier}
    found: dict[str, QueuedJob] = {}
    for job in jobs:
        submission = known.get(job.submission)
        if submission is None or job.never_starts or job.array >= len(submission.arrays):
            continue
        tasks = submission.arrays[job.array].jobs
        if job.task < len(tasks):
            found.update((unit.name, job) for unit in tasks[job.task])
    return found


def _with_needs(units: Sequence[Unit], names: Collection[str]) -> set[str]:
    """Return the names with those of the missing units that they need; needs come first."""
    found = set(names)
    for unit in reversed(units):
        if unit.name in found:
            found.update(unit.needs)
    return found


def unprepared_sets(plan: Plan, cache: Path, emit: Emit) -> dict[str, str]:
    """Return the tasks and corpora with cases that the cache lacks, and their preparations."""
    from medssl_bench.estimate import unprepared
    from medssl_bench.preparation import needed_cases

    found = {}
    for owner, cases in needed_cases(plan):
        if unprepared(owner, cases, cache)[0]:
            found[owner.name] = preparation_name(owner.name, cases)
    emit(Event("data sets", note=f"{len(found)} to prepare", state="done"))
    return found


def _hand_over(
    submission: Submission, live: dict[str, QueuedJob], claim: Claim, emit: Emit
) -> dict[int, list[str]]:
    """Submit every array after those it waits for."""
    job_of = {name: job.id for name, job in live.items()}
    found: dict[int, list[str]] = {}
    for number, array in enumerate(submission.arrays):
        if not claim.still_mine():
            raise BenchError(
                f"{submission.folder}: this process was asleep too long and another one submits"
                " now; look with `bench status`, then run the command again"
            )
        ids = _submit_array(submission, number, waiting_for(array, job_of.get))
        found[number] = ids
        for ran, units in zip(ids, array.jobs, strict=True):
            job_of.update((unit.name, ran) for unit in units)
        emit(Event("submitting", number + 1, len(submission.arrays), f"{array.stage} {_span(ids)}"))
    emit(Event("submitting", len(found), len(found), state="done"))
    return found


def _submit_array(submission: Submission, number: int, array: Array) -> list[str]:
    import submitit

    asked = submission.site.resources(array.stage)
    folder = submission.folder / str(number)
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_python=asked.launcher)
    executor.update_parameters(**_parameters(submission, number, array, asked))
    calls = [
        Job(submission.folder, number, task, asked.signal_seconds)
        for task in range(len(array.jobs))
    ]
    try:
        with _no_options_of_the_user(), executor.batch():
            jobs = [executor.submit(call) for call in calls]
    except subprocess.CalledProcessError as error:
        raise BenchError(f"sbatch refused {array.stage}: {_said(error)}") from None
    except submitit.core.utils.FailedJobError as error:  # has what sbatch printed in it
        said = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise BenchError(f"sbatch refused {array.stage}: {said}") from None
    return [job.job_id for job in jobs]


@contextmanager
def _no_options_of_the_user() -> Iterator[None]:
    """Keep variables such as SBATCH_JOB_NAME from overruling what a job is told."""
    kept = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("SBATCH_")}
    try:
        yield
    finally:
        os.environ.update(kept)


def _parameters(
    submission: Submission, number: int, array: Array, asked: Resources
) -> dict[str, Any]:
    """Return what submitit is told of an array."""
    words = asked.submitit(array.stage)
    further = dict(words.get("slurm_additional_parameters", {}))
    further |= {"requeue": True, "chdir": str(submission.working_folder)}
    if array.needs:
        further["dependency"] = "afterok:" + ":".join(array.needs)
        further["kill-on-invalid-dep"] = "yes"
    srun = [f"--cpus-per-task={asked.cpus}", "--kill-on-bad-exit=1"]
    return {
        **words,
        "name": job_name(array.stage, submission.id, number),
        "slurm_additional_parameters": further,
        "slurm_srun_args": [*srun, *words.get("slurm_srun_args", [])],
        "slurm_setup": [*words.get("slurm_setup", []), *_setup(asked)],
        "slurm_teardown": _teardown(submission.folder / str(number), asked.kills),
    }


def _setup(asked: Resources) -> list[str]:
    threads = [f"export {name}={asked.cpus}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    return [*threads, "export BLOSC_NTHREADS=1 PYTHONUNBUFFERED=1"]


def _teardown(folder: Path, kills: int) -> list[str]:
    """Put a job back whose process was killed from outside, a few times; shell of the node."""
    # The bare number of one task of an array means the whole array.
    job = '"${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"'
    return [
        "code=$?",
        f"job={job}",
        f"kept={shlex.quote(str(folder))}/$job",
        'if [ "$code" -gt 128 ] && [ ! -e "$kept.failed" ]; then',
        '  echo "killed by signal $((code - 128))" >> "$kept.kills"',
        f'  if [ "$(wc -l < "$kept.kills")" -le {kills} ]; then scontrol requeue "$job"; fi',
        "fi",
        'exit "$code"',
    ]


def unseen(root: Path, cluster: Cluster) -> list[str]:
    """Warn of a results folder on a disk of this machine alone, where there are other nodes."""
    nodes = {node.name for partition in cluster.partitions.values() for node in partition.nodes}
    if nodes <= {os.uname().nodename.split(".")[0]}:
        return []
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(root)], capture_output=True, text=True
    ).stdout.strip()
    if kind not in LOCAL_FILE_SYSTEMS:
        return []
    return [
        f"warning: {root} lies on {kind}, a disk of this machine; nodes that do not see it end"
        " their jobs without a log: choose --results on a file system that all nodes share"
    ]


def _refuse_changes(plan: Plan, sweep: str, earlier: Sequence[Submission], root: Path) -> None:
    """Refuse to go on with an experiment under other settings than it was begun with."""
    if not earlier:
        return
    before, now = earlier[-1].settings, plan.settings.model_dump(mode="json")
    differences = list(_differences(before, now))
    if differences:
        raise BenchError(
            f"sweep {sweep}: {'; '.join(differences)} since {earlier[-1].created} in {root}; give"
            " --changed where this is meant (cells of both stay, apart), or another --results"
        )


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for name in dict.fromkeys([*before, *now])
            for line in _differences(
                before.get(name), now.get(name), f"{where}.{name}" if where else name
            )
        ]
    return [] if before == now else [f"{where} was {before}, is {now}"]


def _span(ids: Sequence[str]) -> str:
    """Say which jobs: ``4711_0 to 4711_9``."""
    return ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"


def _said(error: subprocess.CalledProcessError) -> str:
    text = error.stderr or error.output or b""
    text = text.decode() if isinstance(text, bytes) else text
    return (text.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
