"""Submits again what ended without being done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.errors import BenchError
from medssl_bench.freshness import check_fresh
from medssl_bench.progress import Emit
from medssl_bench.slurm.dispatch import Submitted, submit
from medssl_bench.store import Store

if TYPE_CHECKING:
    from medssl_bench.slurm.ledger import Submission
    from medssl_bench.slurm.site import Site
    from medssl_bench.slurm.state import UnitState
    from medssl_bench.training import Compute


def retry(units: Sequence[UnitState], root: Path, site: Site | None, emit: Emit) -> list[Submitted]:
    """Submit units again under the plans they were planned by, with what they need.

    Raises:
        BenchError: As :func:`medssl_bench.slurm.dispatch.submit`, a plan cannot be read or means
            something else by now, or the site computes in another way.
    """
    by_submission: dict[str, tuple[Submission, list[str]]] = {}
    for one in units:
        names = by_submission.setdefault(one.submission.id, (one.submission, []))[1]
        names.append(one.unit.name)
    store = Store(root, read_only=True, missing_ok=True)
    found = []
    for submission, names in by_submission.values():
        plan = submission.plan().as_recorded(store)
        check_fresh(plan)
        place = site or submission.site
        if (there := place.elsewhere().compute(plan.settings.precision)) != plan.compute:
            raise BenchError(
                f"site {place.name}: {_said(there)}, and {_said(plan.compute)} was planned; give"
                " the first command again with this site"
            )
        found.append(
            submit(plan, root, submission.cache, place, emit, only=names, again=submission)
        )
    return found


def _said(compute: Compute) -> str:
    devices = f"{compute.devices} devices" if compute.devices > 1 else "one device"
    return f"{devices} ({compute.device}, {compute.precision}, {compute.threads} threads)"
