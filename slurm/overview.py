"""The queue and the records of a results folder in one table, for ``bench status``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medssl_bench.errors import BenchError
from medssl_bench.record import Record
from medssl_bench.slurm.dispatch import live_units
from medssl_bench.slurm.ledger import Submission, submissions
from medssl_bench.slurm.queue import live_jobs
from medssl_bench.slurm.site import STAGES
from medssl_bench.slurm.state import STATES, UnitState, last_lines, unit_states

SHOWN_LINES = 3
"""Last lines of the log of what failed."""


@dataclass(frozen=True)
class Overview:
    """Every unit that was handed to the queue, and what the queue said."""

    units: tuple[UnitState, ...]
    submissions: tuple[Submission, ...]
    queue_fault: str | None = None
    """Why the queue could not be asked; what has not ended by its own word is unknown then."""

    @property
    def goes_on(self) -> bool:
        """Whether anything waits or runs."""
        return any(unit.state in ("queued", "running", "unknown") for unit in self.units)

    @property
    def ok(self) -> bool:
        """Whether nothing ended without being done."""
        return all(unit.state in ("done", "queued", "running") for unit in self.units)

    def counts(self) -> dict[str, Counter[str]]:
        """Return stage -> state -> how many units."""
        found: dict[str, Counter[str]] = {}
        for stage in STAGES:
            states = Counter(one.state for one in self.units if one.unit.stage == stage)
            if states:
                found[stage] = Counter({state: states[state] for state in STATES})
        return found


def look(root: Path) -> Overview | None:
    """Ask the queue about a results folder; None where nothing was ever submitted from it."""
    handed_over = submissions(root)
    if not handed_over:
        return None
    live, fault = None, None
    try:
        live = live_units(handed_over, live_jobs())
    except BenchError as error:
        fault = str(error)
    return Overview(tuple(unit_states(root, handed_over, live)), tuple(handed_over), fault)


def hours_left(
    units: Iterable[UnitState],
    records: Sequence[Record],
    pretrainings: Sequence[Mapping[str, Any]],
) -> tuple[float, float | None]:
    """Return the hours that recorded work took, and those that the rest will take.

    Of each kind of work the mean of what is recorded; None where a kind is not recorded yet.
    """
    took: dict[str, list[float]] = defaultdict(list)
    for record in records:
        cell = record.cell
        took[f"{cell.backbone} {cell.task} {cell.shots}"].append(record.cost.wall_hours)
    for info in pretrainings:
        took[f"{info['backbone']} {info['method']}"].append(info["cost"]["wall_hours"])
    used = sum(map(sum, took.values()))
    left = 0.0
    for one in units:
        if one.state == "done" or one.unit.stage == "prepare":
            continue
        if one.unit.kind not in took:
            return used, None
        left += sum(took[one.unit.kind]) / len(took[one.unit.kind])
    return used, left


def table(overview: Overview, used: float, left: float | None) -> list[str]:
    """Return the lines that a terminal shows."""
    lines = []
    if overview.queue_fault:
        lines.append(f"  the queue cannot be asked: {overview.queue_fault}")
    counts = overview.counts()
    shown = [s for s in STATES if s != "unknown" or any(states[s] for states in counts.values())]
    lines.append(f"  {'stage':<10}" + "".join(f"{state:>11}" for state in shown))
    for stage, states in counts.items():
        cells = "".join(f"{states[state] or '-':>11}" for state in shown)
        lines.append(f"  {stage:<10}{cells}")
    remaining = "unknown until one of each kind is recorded" if left is None else f"{left:.1f} left"
    lines.append(f"  hours      {used:.1f} used, {remaining}")
    return lines


def described(one: UnitState) -> list[str]:
    """Describe a unit that runs, or that ended without being done."""
    job = f" (job {one.job})" if one.job else ""
    if one.state == "running":
        said = last_lines(one.logs, 1)
        tail = f": {said[0]}" if said else ""
        return [f"  running    {one.unit.title} for {one.elapsed} on {one.node}{job}{tail}"]
    kind = f" [{one.kind}]" if one.kind else ""
    lines = [f"  {one.state:<10} {one.unit.title}: {one.detail}{kind}{job}"]
    if one.state in ("failed", "lost"):
        lines += [f"             | {line}" for line in last_lines(one.logs, SHOWN_LINES)]
        lines += [f"             {one.logs[-1]}"] if one.logs else []
    return lines


def as_json(overview: Overview, used: float, left: float | None) -> dict[str, Any]:
    """Describe it as plain data."""
    return {
        "queue_fault": overview.queue_fault,
        "goes_on": overview.goes_on,
        "hours": {"used": used, "left": left},
        "stages": {stage: dict(states) for stage, states in overview.counts().items()},
        "units": [
            {
                "unit": one.unit.title,
                "name": one.unit.name,
                "stage": one.unit.stage,
                "state": one.state,
                "job": one.job,
                "class": one.kind,
                "detail": one.detail,
                "advice": one.advice or None,
                "submission": one.submission.id,
                "logs": [str(path) for path in one.logs],
            }
            for one in overview.units
        ],
    }
