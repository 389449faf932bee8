"""What became of every unit that was handed to the queue."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from medssl_bench.failures import ADVICE, FailureClass, FailureNote, read_failures
from medssl_bench.slurm.arrays import Unit
from medssl_bench.slurm.ledger import Submission
from medssl_bench.slurm.queue import QueuedJob

State = Literal["done", "running", "queued", "failed", "skipped", "cancelled", "lost", "unknown"]
STATES: tuple[State, ...] = get_args(State)
TAIL_BYTES = 20_000
"""Of a log's end, in which its last lines are looked for."""

_ENDED = re.compile(
    r"\*\*\* JOB \S+ ON \S+ CANCELLED AT \S+(?: DUE TO (?P<why>[A-Z ]+?))? \*\*\*"
    r"|(?P<oom>oom.kill|Out Of Memory|out-of-memory)"
)
_WHY: Mapping[str, FailureClass | None] = {
    "TIME LIMIT": "time",
    "NODE FAILURE": "node",
    "NODE FAIL": "node",
    "SIGNALLED PREEMPTION": None,
    "PREEMPTION": None,
    "JOB REQUEUE": None,
}
"""What SLURM writes of the end of a job; None: it goes on by itself."""


@dataclass(frozen=True)
class UnitState:
    """A unit, and how far it is."""

    unit: Unit
    state: State
    submission: Submission
    array: int
    task: int
    job: str | None = None
    """Id of the job that has it now, or that had it last where its logs tell."""
    kind: FailureClass | None = None
    detail: str = ""
    """One line: why it waits, or why it ended."""
    note: FailureNote | None = None
    elapsed: str = ""
    node: str = ""

    @property
    def logs(self) -> list[Path]:
        """What its jobs wrote, the newest last."""
        return self.submission.logs(self.array, self.task)

    @property
    def advice(self) -> str:
        """What to do about it; empty where nothing is known."""
        return ADVICE[self.kind] if self.kind else ""


def unit_states(
    root: Path, handed_over: Sequence[Submission], live: Mapping[str, QueuedJob] | None
) -> list[UnitState]:
    """Return the state of every unit of every submission, each unit once.

    A unit that was submitted again is judged by its latest submission. ``live`` is what
    :func:`medssl_bench.slurm.dispatch.live_units` returns; None where the queue does not answer, so
    that what has not ended by its own word may still be under way.
    """
    recorded = _recorded(root)
    notes = {note.key: note for note in read_failures(root)}
    places: dict[str, tuple[Submission, int, int]] = {}
    for submission in handed_over:
        for name, array, task in submission.places():
            places[name] = (submission, array, task)
    found: dict[str, UnitState] = {}
    for name, place in places.items():
        submission, array, task = place
        unit = submission.units[name]
        if _is_done(name, recorded, place):
            found[name] = UnitState(unit, "done", *place, job=_last_job(place))
        elif live is None:
            note = notes.get(unit.name)
            noted = note is not None and note.time >= submission.created
            ended = _ended(unit, place, note) if noted else None
            found[name] = ended or UnitState(unit, "unknown", *place, job=_last_job(place))
        elif (job := live.get(name)) is not None:
            state: State = "queued" if job.waits else "running"
            found[name] = UnitState(
                unit, state, *place, job=job.id, detail=job.why, elapsed=job.elapsed,
                node=job.node,
            )  # fmt: skip
        else:
            found[name] = _ended(unit, place, notes.get(unit.name))
    return [_with_need(one, found) for one in found.values()]


def _is_done(name: str, recorded: frozenset[str], place: tuple[Submission, int, int]) -> bool:
    kind, _, key = name.partition("-")
    if kind == "prepare":
        submission, array, task = place
        return (submission.folder / str(array) / done_name(task)).exists()
    return f"{kind}-{key if kind == 'pretraining' else key[:12]}" in recorded


def done_name(task: int) -> str:
    """Name of the file that a job leaves in its array's folder when all of it is done."""
    return f"{task}.done"


def _recorded(root: Path) -> frozenset[str]:
    """Names of what is recorded; of cells by the first twelve digits of their key."""
    found = {f"pretraining-{name}" for name in _names(root / "pretraining")}
    for task in _names(root / "records"):
        found |= {f"cell-{name.rpartition('_')[2]}" for name in _names(root / "records" / task)}
    return frozenset(found)


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if e.name[0] != "." and e.is_dir()]
    except FileNotFoundError:
        return []


def _ended(unit: Unit, place: tuple[Submission, int, int], note: FailureNote | None) -> UnitState:
    """Tell from what was left behind how the job of a unit that is not recorded ended."""
    submission, array, task = place
    job = _last_job(place)
    if note is not None and note.time >= submission.created:
        return UnitState(
            unit, "failed", *place, job=note.job or job, kind=note.kind, detail=note.reason,
            note=note,
        )  # fmt: skip
    logs = submission.logs(array, task)
    if not logs:
        return UnitState(unit, "lost", *place, detail=_silent(submission, array))
    # What SLURM says of a job's end stands among its errors.
    newest = [path for path in logs if path.name.split("_")[0] == logs[-1].name.split("_")[0]]
    for line in (line for path in newest for line in reversed(last_lines([path], 200))):
        match = _ENDED.search(line)
        if match is None:
            continue
        why = (match["why"] or "").strip()
        if match["oom"]:
            return UnitState(unit, "failed", *place, job=job, kind="oom", detail=line.strip())
        if (kind := _WHY.get(why)) is not None:
            return UnitState(unit, "failed", *place, job=job, kind=kind, detail=f"due to {why}")
        if not why:
            return UnitState(unit, "cancelled", *place, job=job, detail="cancelled (scancel)")
        break
    said = last_lines(logs, 1)
    return UnitState(
        unit, "lost", *place, job=job, kind="node",
        detail=f"ended without a word; its log's last line: {said[0] if said else 'none'}",
    )  # fmt: skip


def _silent(submission: Submission, array: int) -> str:
    """Say why a job may have left no log at all."""
    folder = submission.folder / str(array)
    if any(folder.glob("*_log.err")):
        return "ended before it started; cancelled?"
    if any(folder.glob("*_submission.sh")):
        return f"left no log in {folder}: can the nodes see and write it?"
    return "not submitted: whoever submitted was stopped; run the command again"


def _with_need(one: UnitState, found: Mapping[str, UnitState]) -> UnitState:
    """Blame a unit that never started on the one that it needed."""
    if one.state not in ("lost", "cancelled") or one.logs:
        return one
    for name in _all_needs(one.unit, found):
        need = found[name]
        if need.state in ("failed", "lost", "cancelled"):
            return UnitState(
                one.unit, "skipped", one.submission, one.array, one.task,
                detail=f"needs: {need.unit.title} ({need.state})",
            )  # fmt: skip
    return one


def _all_needs(unit: Unit, found: Mapping[str, UnitState]) -> Iterator[str]:
    for name in unit.needs:
        if name in found:
            yield from _all_needs(found[name].unit, found)
            yield name


def _last_job(place: tuple[Submission, int, int]) -> str | None:
    """Id of the job whose log is the newest; None where there is none."""
    submission, array, task = place
    logs = submission.logs(array, task)
    if not logs:
        return None
    number, _, rest = logs[-1].name.partition("_")
    return f"{number}_{task}" if len(submission.arrays[array].jobs) > 1 else number


def last_lines(logs: Sequence[Path], count: int) -> list[str]:
    """Return the last lines of the newest log that says anything, without submitit's own."""
    for path in reversed(logs):
        try:
            with path.open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - TAIL_BYTES))
                lines = stream.read().decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        if kept := [line for line in lines if line.strip() and not line.startswith("submitit ")]:
            return kept[-count:]
    return []
