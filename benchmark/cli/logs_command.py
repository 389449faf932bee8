"""``bench logs``: what the jobs of a unit wrote."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench logs "smit amos_mri"                 every unit whose title has these words
  bench logs 4711_3                          the job of this number
  bench logs 3fa9c1d2 --lines 200            the unit whose key starts so
"""


@click.command("logs", epilog=EPILOG, short_help="Show what the jobs of a cell wrote.")
@click.argument("cell")
@click.option("--lines", type=click.IntRange(1), default=40, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
def command(cell: str, lines: int, results: Path | None) -> int:
    """Show the last lines of the logs of CELL: a key or its start, a job, or words of the title."""
    from medssl_bench.cli.submitted import overview_of
    from medssl_bench.slurm.naming import named
    from medssl_bench.slurm.state import last_lines

    for one in named(overview_of(results).units, [cell]):
        click.echo(f"{one.unit.title}: {one.state}{f', {one.detail}' if one.detail else ''}")
        if one.advice:
            click.echo(f"  {one.advice}")
        for path in one.logs:
            shown = last_lines([path], lines)
            click.echo(f"== {path}{'' if shown else ' (empty)'}")
            click.echo("\n".join(shown)) if shown else None
        if one.note is not None:
            click.echo(f"== {one.note.path}")
            click.echo(one.note.path.read_text("utf-8").rstrip())
        if not one.logs and one.note is None:
            click.echo("  no log")
    return 0
