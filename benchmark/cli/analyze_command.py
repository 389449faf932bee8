"""``bench analyze``: one question, answered from the records of a results folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

EPILOG = """\b
Examples:
  bench analyze --list
  bench analyze retraining --results bench-results
  bench analyze ranks --task amos_ct --shots 5 --metric hd95
  bench analyze groups --gall-bladder gi --json

\b
docs/analysis.md says which test answers which question.
"""


@click.command("analyze", epilog=EPILOG, short_help="Answer one question from the records.")
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="List what can be asked")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--task", help="Only this task")
@click.option("--shots", help="Only these shots")
@click.option("--metric", default="dice", show_default=True, help="dice | nsd | hd95 | hd95_pooled")
@click.option(
    "--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05,
    show_default=True, help="Level of tests; intervals cover 1 - alpha",
)  # fmt: skip
@click.option(
    "--correction", type=click.Choice(["holm", "bh"]), default="holm", show_default=True,
    help="Of many p-values: Holm or Benjamini-Hochberg",
)  # fmt: skip
@click.option(
    "--gall-bladder", type=click.Choice(["small", "gi"]),
    help="Its organ group [default: as the task has it]",
)  # fmt: skip
@click.option("--resamples", type=click.IntRange(100), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of resampling")
@click.option("--out", type=click.Path(path_type=Path), help="[default: RESULTS/analysis]")
@click.option("--json", "as_json", is_flag=True, help="Print what is written to NAME.json")
def command(
    name: str | None,
    listing: bool,
    results: Path | None,
    task: str | None,
    shots: str | None,
    metric: str,
    alpha: float,
    correction: Literal["holm", "bh"],
    gall_bladder: Literal["small", "gi"] | None,
    resamples: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> int:
    """Answer one question: print a table; write CSV, JSON and a figure (SVG, PNG)."""
    from medssl_bench import registry
    from medssl_bench.errors import BenchError

    if listing:
        return _list(as_json)
    if name is None:
        raise click.UsageError("which analysis? See `bench analyze --list`")
    entry = registry.analyses.entry(name)

    from medssl_bench.analysis.leaderboard.results import read_results
    from medssl_bench.analysis.statistics.panel import HIGHER_IS_BETTER
    from medssl_bench.analysis.studies.outcome import Evidence, Options, leak_notes
    from medssl_bench.errors import did_you_mean
    from medssl_bench.validation import check_writable
    from medssl_bench.workspace import load_workspace

    if metric not in HIGHER_IS_BETTER:
        raise BenchError(f"--metric {metric}: unknown.{did_you_mean(metric, HIGHER_IS_BETTER)}")
    root = results or load_workspace().results
    folder = out or root / "analysis"
    check_writable(folder)
    found = None
    left_out: list[str] = []
    if entry.info.get("needs_results", True):
        found, left_out = read_results(root)
    options = Options(metric, task, shots, alpha, correction, gall_bladder, resamples, seed)
    outcome = entry.load()(Evidence(found, options))
    if found is not None:
        outcome = replace(outcome, leaks=leak_notes(found.records, task))
    files = outcome.write(folder)
    for line in left_out:
        click.echo(f"left out: {line}", err=True)
    if as_json:
        click.echo(json.dumps(outcome.document, indent=1, allow_nan=False, ensure_ascii=False))
        return 0
    click.echo(outcome.text)
    click.echo(f"\nwrote {', '.join(path.name for path in files)} to {folder}")
    return 0


def _list(as_json: bool) -> int:
    from medssl_bench import registry

    entries = registry.analyses.entries()
    if as_json:
        rows = [{"name": name, "summary": entry.summary} for name, entry in entries.items()]
        click.echo(json.dumps(rows, indent=1))
        return 0
    width = max(map(len, entries))
    for name, entry in entries.items():
        click.echo(f"{name:<{width}}  {entry.summary}")
    return 0
