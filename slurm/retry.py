"""Submits again what ended without being done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.progress import Emit
from medssl_bench.slurm.dispatch import Submitted, submit
from medssl_bench.store import Store

if TYPE_CHECKING:
    from medssl_bench.slurm.ledger import Submission
    from medssl_bench.slurm.site import Site
    from medssl_bench.slurm.state import UnitState


def retry(units: Sequence[UnitState], root: Path, site: Site | None, emit: Emit) -> list[Submitted]:
    """Submit units again under the plans they were planned by, with what they need.

    Raises:
        BenchError: As :func:`medssl_bench.slurm.dispatch.submit`, or a plan cannot be read.
    """
    by_submission: dict[str, tuple[Submission, list[str]]] = {}
    for one in units:
        names = by_submission.setdefault(one.submission.id, (one.submission, []))[1]
        names.append(one.unit.name)
    store = Store(root, read_only=True, missing_ok=True)
    found = []
    for submission, names in by_submission.values():
        plan = submission.plan().as_recorded(store)
        wanted = _with_needs(names, submission)
        found.append(
            submit(
                plan, root, submission.cache, site or submission.site, emit,
                only=wanted, again=submission,
            )
        )  # fmt: skip
    return found


def _with_needs(names: Iterable[str], submission: Submission) -> frozenset[str]:
    found: set[str] = set()
    rest = list(names)
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            unit = submission.units.get(name)
            rest += unit.needs if unit is not None else ()
    return frozenset(found)
