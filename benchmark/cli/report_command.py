"""``bench report``: the leaderboard page."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench report
  bench report --results bench-results/demo --out /tmp/page
  bench report --published          (yours beside the records that come with medssl-bench)
"""


@click.command("report", epilog=EPILOG, short_help="Write the leaderboard page.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--out", type=click.Path(path_type=Path), help="[default: RESULTS/report]")
@click.option(
    "--published", is_flag=True,
    help="Show the records that come with medssl-bench too [default: only where you have none]",
)  # fmt: skip
def command(results: Path | None, out: Path | None, published: bool) -> int:
    """Write a self-contained page, tables and figures from recorded results.

    Where there are no results of yours, and --results names none, the page shows those that come
    with medssl-bench.
    """
    from medssl_bench.analysis.leaderboard.page import write_report
    from medssl_bench.records.published import PUBLISHED, YOURS, published_folder, read_both
    from medssl_bench.validation import check_writable
    from medssl_bench.workspace import load_workspace

    root = results or load_workspace().results
    if out is not None:
        check_writable(out)
    roots = {YOURS: root, PUBLISHED: published_folder()}
    if results is None and not (root / "store.json").exists():
        click.echo(f"no results in {root}: showing the published ones; `bench run` makes yours")
        del roots[YOURS]
    elif not published:
        del roots[PUBLISHED]
    found, left_out = read_both(roots)
    for line in left_out:
        click.echo(f"left out: {line}", err=True)
    page = write_report(found, out or root / "report", left_out=left_out)
    click.echo(f"wrote {page}")
    return 0
