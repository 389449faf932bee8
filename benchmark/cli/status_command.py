"""``bench status``: what a results folder holds."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medssl_bench.failures import FailureNote

EPILOG = """\b
Examples:
  bench status
  bench status --results bench-results/demo --json
"""


@click.command("status", epilog=EPILOG, short_help="Show what is recorded and running.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON")
def command(results: Path | None, as_json: bool) -> int:
    """Show what is recorded, under way and failed in a results folder."""
    from medssl_bench.claims import unfinished
    from medssl_bench.failures import ADVICE, read_failures
    from medssl_bench.store import Store
    from medssl_bench.workspace import load_workspace

    root = results or load_workspace().results
    store = Store(root, read_only=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        records = list(store.records())
        pretrainings = list(store.pretrainings())
    damaged = [str(item.message) for item in caught]
    under_way = unfinished(store.work)
    failed = read_failures(root)
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
        }
        click.echo(json.dumps(document, indent=1))
        return 0
    click.echo(f"{root}: {len(records)} cells and {len(pretrainings)} pretrainings recorded")
    for (task, shots, method), count in sorted(counts.items()):
        click.echo(f"  {task:<16} {shots:>5} shots  {method:<12} {count} recorded")
    for info in pretrainings:
        click.echo(f"  pretraining {_title(_pretraining(info))}")
    for unit in under_way.values():
        click.echo(f"  unfinished  {unit}")
    for note in failed:
        click.echo(f"  failed      {note.unit}: {note.reason} [{note.kind}] ({note.path})")
    for kind, advice in ADVICE.items():
        if count := sum(note.kind == kind for note in failed):
            click.echo(f"  {kind:<11} {count} failed: {advice}")
    for text in damaged:
        click.echo(f"  damaged     {text}")
    return 0


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
