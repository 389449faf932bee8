"""What ``bench run`` and ``bench pretrain`` do with a plan: print it, run it, sum it up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.runner import Failure
    from medssl_bench.store import Store


def carry_out(
    plan: Plan,
    root: Path,
    cache: Path,
    *,
    workers: int,
    dry_run: bool,
    calibrate: bool,
    as_json: bool,
    plain: bool,
) -> int:
    """Print the plan and, unless ``dry_run``, run it; returns the exit code."""
    from medssl_bench.api import check_room, execute
    from medssl_bench.describe import plan_json, plan_text
    from medssl_bench.estimate import hours
    from medssl_bench.progress import Progress
    from medssl_bench.store import Store

    check_room(plan, root, cache)
    expected = hours(plan, Store(root, read_only=True, missing_ok=True))
    if calibrate:
        from medssl_bench.calibration import measured_hours

        with Progress(plain or None, quiet=as_json) as progress:
            expected = measured_hours(plan, cache, progress.emit)
    if not as_json:
        click.echo(plan_text(plan, root, cache, expected, workers))
    if dry_run:
        if as_json:
            click.echo(json.dumps(plan_json(plan, root, cache, expected), indent=1))
        return 0
    with Progress(plain or None, quiet=as_json) as progress:
        outcome = execute(plan, root, cache, workers, progress.emit)
    if as_json:
        document = plan_json(plan, root, cache, expected)
        _mark_recorded(document, plan, Store(root, read_only=True))
        document["failures"] = [failure.as_json() for failure in outcome.failures]
        click.echo(json.dumps(document, indent=1))
    else:
        _summarise(plan, root, outcome.failures)
    return 0 if outcome.ok else 1


def _mark_recorded(document: dict[str, Any], plan: Plan, store: Store) -> None:
    """Say of each unit whether it is recorded now; the plan says it of before the run."""
    for shown in (*document["pretrainings"], *document["imports"]):
        shown["recorded"] = store.has_pretraining(shown["key"])
    for shown, planned in zip(document["cells"], plan.cells, strict=True):
        shown["recorded"] = store.has(planned.cell)


def show_failures(failures: Sequence[Failure]) -> None:
    """Say what failed, of which class, and what to do about each class."""
    from medssl_bench.failures import ADVICE

    for failure in failures:
        kind = f" [{failure.kind}]" if failure.kind else ""
        click.echo(f"failed{kind}: {failure.unit}: {failure.reason}", err=True)
    for kind, advice in ADVICE.items():
        if any(failure.kind == kind for failure in failures):
            click.echo(f"{kind}: {advice}", err=True)


def _summarise(plan: Plan, root: Path, failures: list[Failure]) -> None:
    show_failures(failures)
    starts = [job.title for job in plan.starts.values()]
    lost = sum(1 for failure in failures if failure.unit in starts)
    if not plan.tasks:
        done = len(starts) - lost
        click.echo(f"{done} of {len(starts)} pretrainings are recorded in {root}")
        return
    done = len(plan.cells) - (len(failures) - lost)
    click.echo(f"{done} of {len(plan.cells)} cells are recorded in {root}")
    if done:
        click.echo(f"next: bench report --results {root}")
