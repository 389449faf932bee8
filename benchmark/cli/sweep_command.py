"""``bench sweep``: an experiment of several runs, from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medssl_bench.slurm.site import Site
    from medssl_bench.slurm.sweep import PlannedSweep

EPILOG = """\b
Examples:
  bench sweep few_shot --estimate
  bench sweep my_sweep.yaml --data /datasets --dry-run
  bench sweep primary --executor slurm --site my_site.yaml --corpus folder:/scans

\b
A sweep is a file, or the name of one that comes with the package:
capacity, corpus_size, few_shot, label_efficiency, matched_size, primary, table2.
Exit codes: 0 done (or submitted), 1 some cell failed, 2 wrong usage (nothing started).
"""


@click.command("sweep", epilog=EPILOG, short_help="Run an experiment of several runs.")
@click.argument("sweep", metavar="FILE|NAME")
@click.option(
    "--executor",
    type=click.Choice(["local", "slurm"]),
    default="local",
    show_default=True,
    help="Run here, or submit jobs to SLURM and return",
)
@click.option(
    "--site",
    metavar="NAME|FILE",
    help="How jobs are asked for [default: bench.yaml's]; implies --executor slurm",
)
@click.option(
    "--workers",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes on this machine that share the work, and its GPUs",
)
@click.option(
    "--changed", is_flag=True, help="Go on under other settings than the sweep was submitted with"
)
@click.option("--estimate", is_flag=True, help="Count what the sweep holds; needs no data")
@click.option("--dry-run", is_flag=True, help="Validate and print the plans, start nothing")
@click.option("--corpus", help="Takes the place of the file's: NAME or folder:PATH[,PATH]")
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option(
    "--split", multiple=True, metavar="[TASK=]FILE[,FILE]", help="Lists in place of the task's rule"
)
@click.option(
    "--results", type=click.Path(path_type=Path), help="[default: the file's, else bench.yaml's]"
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option("--set", "assignments", multiple=True, metavar="KEY.PATH=VALUE", help="Any setting")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A Python file that registers methods, tasks, backbones or corpora",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plans or the outcome as JSON")
@click.option("--plain", is_flag=True, help="Plain progress lines, no bars")
def command(
    sweep: str,
    executor: str,
    site: str | None,
    workers: int,
    changed: bool,
    estimate: bool,
    dry_run: bool,
    corpus: str | None,
    results: Path | None,
    device: str,
    assignments: tuple[str, ...],
    plugins: tuple[Path, ...],
    as_json: bool,
    plain: bool,
    **options: Any,
) -> int:
    """Run everything that a sweep file asks for and that is not recorded yet."""
    from medssl_bench.cli.planned import chosen_site, refuse_local_words
    from medssl_bench.registry import load_plugins
    from medssl_bench.slurm.sweep import load_sweep, plan_sweep

    load_plugins(plugins)
    asked = load_sweep(sweep)
    if estimate:
        from medssl_bench.slurm.sweep_estimate import estimate_sweep
        from medssl_bench.store import Store

        root = results or asked.results
        missing_ok = results is None
        store = None if root is None else Store(root, read_only=True, missing_ok=missing_ok)
        found = estimate_sweep(asked, store, corpus, assignments)
        click.echo(json.dumps(found.as_json(), indent=1) if as_json else found.text())
        return 0
    place = chosen_site(executor, site)
    if place is not None:
        refuse_local_words({"workers": workers, "device": device})
    planned = plan_sweep(
        asked,
        elsewhere=place.elsewhere() if place is not None else None,
        device=device,
        results=results,
        corpus=corpus,
        assignments=assignments,
        plugins=plugins,
        **options,
    )
    if not as_json:
        click.echo(_text(planned))
    if dry_run:
        if as_json:
            click.echo(json.dumps(_json(planned), indent=1))
        return 0
    if place is not None:
        return _submit(planned, place, changed, as_json, plain)
    return _run(planned, workers, as_json, plain)


def _run(planned: PlannedSweep, workers: int, as_json: bool, plain: bool) -> int:
    """Run the plans one after another on this machine."""
    from medssl_bench.api import execute
    from medssl_bench.cli.planned import saving_what_runs, show_failures
    from medssl_bench.progress import Progress

    failures = {}
    with Progress(plain or None, quiet=as_json) as progress:
        for plan in planned.plans:
            with saving_what_runs(plan):
                outcome = execute(plan, planned.root, planned.cache, workers, progress.emit)
            failures.update({failure.unit: failure for failure in outcome.failures})
    left = planned.unrecorded()
    if as_json:
        document = _json(planned)
        document["unrecorded"] = len(left)
        document["failures"] = [failure.as_json() for failure in failures.values()]
        click.echo(json.dumps(document, indent=1))
    else:
        show_failures(list(failures.values()))
        total = len(planned.cells)
        click.echo(f"{total - len(left)} of {total} cells are recorded in {planned.root}")
    return 1 if failures or left else 0


def _submit(planned: PlannedSweep, site: Site, changed: bool, as_json: bool, plain: bool) -> int:
    """Hand every plan that misses something to the cluster."""
    from medssl_bench.api import check_room
    from medssl_bench.progress import Progress
    from medssl_bench.slurm.dispatch import submit

    lines, jobs = [], []
    for plan in planned.plans:
        check_room(plan, planned.root, planned.cache)
    with Progress(plain or None, quiet=as_json) as progress:
        for number, plan in enumerate(planned.plans, 1):
            if plan.missing_cells or plan.missing_starts:
                name = f"{planned.sweep.name} run {number}"
                done = submit(
                    plan, planned.root, planned.cache, site, progress.emit, sweep=name,
                    changed=changed,
                )  # fmt: skip
                jobs += [job for ids in done.jobs.values() for job in ids]
                lines += [f"run {number}: {line}" for line in done.lines]
    if as_json:
        click.echo(json.dumps({**_json(planned), "jobs": jobs}, indent=1))
        return 0
    click.echo("\n".join(lines) if lines else "nothing to submit: everything is recorded")
    if jobs:
        click.echo(f"next: bench status --results {planned.root} --watch")
    return 0


def _text(planned: PlannedSweep) -> str:
    """Describe the plans, a line for each, and their sum."""
    sweep, total = planned.sweep, len(planned.plans)
    head = f"sweep {sweep.name}" + (f": {sweep.reference}" if sweep.reference else "")
    lines = [head]
    for number, plan in enumerate(planned.plans, 1):
        settings = plan.settings
        lines.append(
            f"run {number} of {total}: {', '.join(plan.request.methods)} on"
            f" {', '.join(plan.tasks)}, {', '.join(plan.request.shots)} shots;"
            f" {settings.profile}, {settings.backbone},"
            f" corpus {plan.corpus.corpus.name if plan.corpus else 'none'}"
            f"{f' ({len(plan.corpus.cases)} cases)' if plan.corpus else ''};"
            f" to run: {len(plan.missing_starts)} of {len(plan.starts)} pretrainings,"
            f" {len(plan.missing_cells)} of {len(plan.cells)} cells"
        )
    cells, starts = planned.cells, planned.starts
    lines.append(
        f"in all, each once: pretrainings {len(starts)}, {sum(starts.values())} recorded; cells"
        f" {len(cells)}, {sum(cells.values())} recorded; results in {planned.root}"
    )
    told = list(dict.fromkeys(text for plan in planned.plans for text in plan.warnings))
    lines += [f"warning: {text}" for text in told[:5]]
    if len(told) > 5:
        lines.append(f"warning: and {len(told) - 5} more like these")
    return "\n".join(lines)


def _json(planned: PlannedSweep) -> dict[str, Any]:
    """Describe the plans as plain data."""
    cells, starts = planned.cells, planned.starts
    return {
        "sweep": planned.sweep.name,
        "reference": planned.sweep.reference,
        "results": str(planned.root),
        "cells": len(cells),
        "recorded": sum(cells.values()),
        "pretrainings": len(starts),
        "pretrained": sum(starts.values()),
        "runs": [
            {
                "settings": plan.settings.model_dump(mode="json"),
                "methods": list(plan.request.methods),
                "tasks": list(plan.tasks),
                "shots": list(plan.request.shots),
                "cells": [planned_cell.cell.key for planned_cell in plan.cells],
                "pretrainings": list(plan.starts),
                "warnings": list(plan.warnings),
            }
            for plan in planned.plans
        ],
    }
