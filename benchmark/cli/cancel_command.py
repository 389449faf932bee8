"""``bench cancel``: take jobs out of the queue."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench cancel --all                  everything of this results folder that waits or runs
  bench cancel "smit amos_mri"        the jobs of the units whose titles have these words

\b
What was done stays, checkpoints too: submit again, or `bench retry`, to go on.
Exit codes: 0 done, 1 some job could not be cancelled, 2 wrong usage.
"""


@click.command("cancel", epilog=EPILOG, short_help="Take jobs out of the queue.")
@click.argument("cells", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that wait or run")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
def command(cells: tuple[str, ...], every: bool, results: Path | None) -> int:
    """Cancel the jobs of CELLS: keys or their starts, jobs, or words of the titles."""
    from medssl_bench.cli.submitted import overview_of
    from medssl_bench.errors import BenchError
    from medssl_bench.slurm.naming import named
    from medssl_bench.slurm.queue import cancel

    if bool(cells) == every:
        raise BenchError("say which: names of cells, or --all")
    overview = overview_of(results)
    if overview.queue_fault:
        raise BenchError(overview.queue_fault)
    units = list(overview.units) if every else named(overview.units, cells)
    live = [one for one in units if one.state in ("queued", "running") and one.job]
    jobs = list(dict.fromkeys(str(one.job) for one in live))
    left = cancel(jobs)
    for one in live:
        if one.job not in left:
            click.echo(f"cancelled {one.unit.title} (job {one.job})")
    for one in overview.units:
        if one.job in jobs and one not in live and one.state in ("queued", "running"):
            click.echo(f"  and with it {one.unit.title}, of the same job")
    for job, why in left.items():
        click.echo(f"not cancelled: job {job}: {why}", err=True)
    click.echo(f"{len(jobs) - len(left)} of {len(jobs)} jobs cancelled")
    return 1 if left else 0
