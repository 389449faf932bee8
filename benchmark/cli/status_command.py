"""``bench status``: what a results folder holds."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medssl_bench.failures import FailureNote
    from medssl_bench.slurm.overview import Overview

MOST = 40
"""Units that run or failed and are shown one by one."""
EPILOG = """\b
Examples:
  bench status
  bench status --results bench-results/demo --json
  bench status --results /shared/bench-results --watch
"""


@click.command("status", epilog=EPILOG, short_help="Show what is recorded and running.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--watch", is_flag=True, help="Show it again and again until all jobs have ended")
@click.option(
    "--every", type=click.IntRange(1), default=15, show_default=True, help="Seconds between looks"
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON")
def command(results: Path | None, watch: bool, every: int, as_json: bool) -> int:
    """Show what is recorded, queued, running and failed in a results folder.

    With --watch the exit code is 1 where anything ended without being done.
    """
    from medssl_bench.cli.submitted import results_folder
    from medssl_bench.errors import BenchError

    root = results_folder(results)
    if not watch:
        show(root, as_json)
        return 0
    if as_json:
        raise BenchError("--watch is for people; a script calls --json again and again")
    while True:
        if sys.stdout.isatty():
            click.clear()
        overview = show(root, as_json=False)
        if overview is None or not overview.goes_on:
            return 0 if overview is None or overview.ok else 1
        time.sleep(every)


def show(root: Path, as_json: bool) -> Overview | None:
    """Print the state of a results folder once; returns what was submitted from it."""
    from medssl_bench.claims import unfinished
    from medssl_bench.failures import ADVICE, read_failures
    from medssl_bench.slurm.ledger import submissions
    from medssl_bench.slurm.overview import as_json as queue_json
    from medssl_bench.slurm.overview import described, hours_left, look, table
    from medssl_bench.store import Store

    store = Store(root, read_only=True, missing_ok=bool(submissions(root)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = list(store.records(whole=True))
        pretrainings = list(store.pretrainings())
    damaged = [str(item.message) for item in caught]
    under_way = unfinished(store.work)
    failed = read_failures(root)
    overview = look(root)
    used, left = (0.0, None)
    if overview is not None:
        used, left = hours_left(overview.units, records, pretrainings)
    counts = Counter((r.cell.task, r.cell.shots, r.cell.method) for r in records)
    if as_json:
        document = {
            "results": str(root),
            "records": [
                {**r.cell.model_dump(), "key": r.key, **_number(r.metrics)} for r in records
            ],
            "pretrainings": [_pretraining(info) for info in pretrainings],
            "unfinished": [{"unit": unit, "work": name} for name, unit in under_way.items()],
            "failed": [_failure(note) for note in failed],
            "damaged": damaged,
            "queue": None if overview is None else queue_json(overview, used, left),
        }
        click.echo(json.dumps(document, indent=1))
        return overview
    click.echo(f"{root}: {len(records)} cells and {len(pretrainings)} pretrainings recorded")
    for (task, shots, method), count in sorted(counts.items()):
        click.echo(f"  {task:<16} {shots:>5} shots  {method:<12} {count} recorded")
    for info in pretrainings:
        click.echo(f"  pretraining {_title(_pretraining(info))}")
    told: set[str] = set()
    if overview is not None:
        click.echo("\n".join(table(overview, used, left)))
        shown = [one for one in overview.units if one.state not in ("done", "queued", "unknown")]
        told = {one.unit.title for one in overview.units}
        for one in shown[:MOST]:
            click.echo("\n".join(described(one)))
        if len(shown) > MOST:
            click.echo(f"  and {len(shown) - MOST} more units: --json lists all")
    for unit in under_way.values():
        if unit not in told:
            click.echo(f"  unfinished  {unit}")
    for note in failed:
        if note.unit in told:
            continue
        click.echo(f"  failed      {note.unit}: {note.reason} [{note.kind}] ({note.path})")
    for kind, advice in ADVICE.items():
        if count := sum(note.kind == kind for note in failed):
            click.echo(f"  {kind:<11} {count} failed: {advice}")
    for text in damaged:
        click.echo(f"  damaged     {text}")
    return overview


def _number(metrics: dict[str, Any]) -> dict[str, float | None]:
    """``dice``, or ``auc`` where cases are classified; the other is None."""
    from medssl_bench.record import headline

    name, value = headline(metrics)
    return {"dice": None, "auc": None, name.lower(): value}


def _pretraining(info: dict[str, Any]) -> dict[str, Any]:
    """What tells a pretraining from others; an import has no size, crop, steps or seed."""
    settings = info["settings"]
    return {
        **{name: info[name] for name in ("key", "method", "backbone", "corpus")},
        "corpus_size": len(info["corpus_cases"]) or None,
        "crop": settings.get("crop"),
        "steps": settings.get("steps"),
        "pretrain_seed": info["pretrain_seed"],
    }


def _title(row: dict[str, Any]) -> str:
    words = f"{row['method']} on {row['corpus']}, {row['backbone']}"
    if row["steps"] is not None:
        crop = "x".join(map(str, row["crop"]))
        words += f", {row['corpus_size']} volumes, crops {crop}, {row['steps']} steps"
        words += f", seed {row['pretrain_seed']}"
    return f"{words} ({row['key'][:12]})"


def _failure(note: FailureNote) -> dict[str, str | None]:
    """Describe a failure as plain data."""
    return {
        "unit": note.unit,
        "class": note.kind,
        "reason": note.reason,
        "advice": note.advice,
        "host": note.host,
        "job": note.job,
        "time": note.time,
        "log": str(note.path),
    }
