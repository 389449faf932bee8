"""One process working through a plan: claims each missing unit of work, and has it done.

What each unit computes is in :mod:`medssl_bench.units`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench import interrupt
from medssl_bench.claims import Claim, ClaimLost
from medssl_bench.failures import ADVICE, FailureClass, forget_failure, note_failure
from medssl_bench.interrupt import Interrupted
from medssl_bench.networks.memory import keep_freed_memory
from medssl_bench.progress import Emit, Event
from medssl_bench.provenance import git_state
from medssl_bench.store import Store
from medssl_bench.units import Units

if TYPE_CHECKING:
    from medssl_bench.plan import Plan

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


def clear_leftovers(plan: Plan, store: Store) -> None:
    """Remove checkpoints left by a kill between recording a unit and giving up its claim."""
    names = [f"cell-{c.cell.key}" for c in plan.cells if c.cell.key in plan.recorded]
    names += [f"pretraining-{key}" for key in plan.pretrained if store.has_pretraining(key)]
    for name in names:
        if (store.work / name).exists():
            claim = Claim.acquire(store.work, name, stale_after=STALE_SECONDS)
            if claim is not None:
                claim.release(done=True)


class Worker:
    """One process working through a plan."""

    def __init__(self, plan: Plan, root: Path, cache: Path, emit: Emit) -> None:
        """Open the store; volumes are opened when first needed."""
        self.plan, self.emit = plan, emit
        self.store = Store(root)
        self.units = Units(plan, self.store, cache, emit)
        if plan.compute.device == "cpu":
            keep_freed_memory()
        git_state()  # asked now, so that a commit made while this runs is not recorded

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
                    lambda claim, job=job: self.units.start(job, claim),  # type: ignore[misc]
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
                    lambda claim, planned=planned: self.units.cell(planned, claim),  # type: ignore[misc]
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
