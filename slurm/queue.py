"""The live queue: which of our jobs wait or run, and the commands that end or requeue one."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass

from medssl_bench.slurm.cluster import available, run_command

PREFIX = "bench-"
_NAME = re.compile(r"bench-(?P<stage>[a-z]+)\.(?P<submission>[A-Za-z0-9-]+)\.(?P<array>\d+)")
_SHOWN = "%i|%T|%r|%M|%N|%j"
ENDING = {"COMPLETING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED",
          "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}  # fmt: skip
"""States of jobs that do nothing any more."""


@dataclass(frozen=True)
class QueuedJob:
    """One job of ours, an array's task included."""

    id: str
    """As ``scancel`` takes it: ``4711`` or ``4711_3``."""
    state: str
    """PENDING, RUNNING, ...; see squeue(1), JOB STATE CODES."""
    reason: str
    """Why it waits, or the reason it was given; empty: none."""
    elapsed: str
    node: str
    submission: str
    array: int
    """Which array of its submission."""
    task: int
    """Its place in that array."""

    @property
    def waits(self) -> bool:
        """Whether it has yet to start, or to start again."""
        return self.state in ("PENDING", "REQUEUED", "SUSPENDED", "REQUEUE_HOLD", "SPECIAL_EXIT")

    @property
    def why(self) -> str:
        """Why it waits, and what lets it go on where nothing does by itself."""
        # JobHeldUser, JobHeldAdmin, launch failed requeued held
        if self.waits and "held" in self.reason.lower():
            return f"held ({self.reason}); `scontrol release {self.id}` lets it start"
        return self.reason

    @property
    def never_starts(self) -> bool:
        """Whether SLURM says that what it waits for has failed."""
        return self.reason in ("DependencyNeverSatisfied", "(DependencyNeverSatisfied)")


def job_name(stage: str, submission: str, array: int) -> str:
    """Return the name that tells a job's place in the ledger."""
    return f"{PREFIX}{stage}.{submission}.{array}"


def live_jobs() -> list[QueuedJob]:
    """Return the jobs of any submission that wait or run.

    Raises:
        BenchError: No SLURM here, or its controller does not answer.
    """
    available()
    text = run_command("squeue", "--noheader", "--array", f"--format={_SHOWN}")
    found = (read_job(line) for line in text.splitlines())
    # One that completes may be on its way back into the queue.
    over = ENDING - {"COMPLETING"}
    return [job for job in found if job is not None and job.state not in over]


def read_job(line: str) -> QueuedJob | None:
    """Read a line of squeue; None for a job that is not ours."""
    words = line.split("|", 5)
    match = _NAME.fullmatch(words[-1].strip()) if len(words) == 6 else None
    if match is None:
        return None
    number, state, reason, elapsed, node = (word.strip() for word in words[:5])
    _, _, task = number.partition("_")
    return QueuedJob(
        id=number,
        state=state,
        reason="" if reason == "None" else reason,
        elapsed=elapsed,
        node=node,
        submission=match["submission"],
        array=int(match["array"]),
        task=int(task) if task.isdigit() else 0,
    )


def state_of(job: str) -> str | None:
    """Return the state of one job, None where SLURM says nothing of it; raises BenchError."""
    words = run_command("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T")
    return words.split()[0] if words.strip() else None


def requeue(job: str) -> None:
    """Put a job back into the queue; raises BenchError where SLURM refuses."""
    run_command("scontrol", "requeue", job)


def cancel(jobs: list[str]) -> dict[str, str]:
    """End jobs; returns those that still wait or run, and what scancel said."""
    said = ""
    for first in range(0, len(jobs), 200):
        done = subprocess.run(
            ["scancel", *jobs[first : first + 200]], capture_output=True, text=True, check=False
        )
        said = said or (done.stderr.strip().splitlines() or [""])[0]
    time.sleep(1)
    left = {job.id for job in live_jobs() if job.state != "COMPLETING"}
    return {job: said or "it does not end" for job in jobs if job in left}
