"""``bench report``: the leaderboard page."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench report
  bench report --results bench-results/demo --out /tmp/page
"""


@click.command("report", epilog=EPILOG, short_help="Write the leaderboard page.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--out", type=click.Path(path_type=Path), help="[default: RESULTS/report]")
def command(results: Path | None, out: Path | None) -> int:
    """Write a self-contained page, tables and figures from recorded results."""
    from medssl_bench.analysis.leaderboard.page import build_report
    from medssl_bench.validation import check_writable
    from medssl_bench.workspace import load_workspace

    root = results or load_workspace().results
    if out is not None:
        check_writable(out)
    page = build_report(root, out or root / "report")
    click.echo(f"wrote {page}")
    return 0
