"""``bench retry``: submit again what ended without being done."""

from __future__ import annotations

import json
from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench retry --failed                   all that failed, was lost, or waited for such
  bench retry --failed --class time      what reached its time limit
  bench retry "smit amos_mri"            these, cancelled ones too
  bench retry --failed --site big.yaml   with more memory or time
"""


@click.command("retry", epilog=EPILOG, short_help="Submit again what failed.")
@click.argument("cells", nargs=-1)
@click.option("--failed", is_flag=True, help="All that failed, was lost, or waited for such")
@click.option("--class", "kind", help="Only failures of this class: oom, time, node, ...")
@click.option("--site", metavar="NAME|FILE", help="[default: the one it was submitted with]")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON")
def command(
    cells: tuple[str, ...],
    failed: bool,
    kind: str | None,
    site: str | None,
    results: Path | None,
    as_json: bool,
) -> int:
    """Submit again what ended without being done, as it was planned; checkpoints are gone on from.

    CELLS are keys or their starts, jobs, or words of the titles.
    """
    from medssl_bench.cli.submitted import overview_of, results_folder
    from medssl_bench.errors import BenchError
    from medssl_bench.progress import Progress
    from medssl_bench.slurm.naming import named
    from medssl_bench.slurm.retry import retry
    from medssl_bench.slurm.site import load_site

    if bool(cells) == failed:
        raise BenchError("say which: names of cells, or --failed")
    overview = overview_of(results)
    if overview.queue_fault:
        raise BenchError(overview.queue_fault)
    if failed:
        units = [one for one in overview.units if one.state in ("failed", "lost", "skipped")]
    else:
        units = named(overview.units, cells)
        units = [one for one in units if one.state not in ("done", "running", "queued")]
    units = [one for one in units if kind is None or one.kind == kind]
    with Progress(quiet=as_json) as progress:
        chosen = None if site is None else load_site(site)
        done = retry(units, results_folder(results), chosen, progress.emit)
    if as_json:
        jobs = [job for one in done for ids in one.jobs.values() for job in ids]
        click.echo(json.dumps({"units": [one.unit.title for one in units], "jobs": jobs}, indent=1))
        return 0
    for one in done:
        click.echo("\n".join(one.lines))
    if not done:
        click.echo("nothing to retry")
    return 0
