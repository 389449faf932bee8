"""``bench doctor``: can the benchmark run here, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import click

EPILOG = """\b
Examples:
  bench doctor
  bench doctor --json
  bench doctor --site my_site.yaml

\b
Exit codes: 0 the benchmark can run, 1 something it needs is broken, 2 wrong usage.
"""
MARKS = {"ok": ("ok", "green"), "note": ("-", "cyan"), "warning": ("!", "yellow"),
         "broken": ("BROKEN", "bold red")}  # fmt: skip


@click.command("doctor", epilog=EPILOG, short_help="Check this machine and folder.")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--site", metavar="FILE|NAME", help="Check this site file against the live cluster")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON")
def command(results: Path | None, site: str | None, as_json: bool) -> int:
    """Check versions, devices, threads, precision, disk and data; with --site also the cluster.

    Uses no network (but for the cluster's own commands) and changes nothing.
    """
    from medssl_bench.doctor import examine
    from medssl_bench.slurm.site import load_site

    described = load_site(site) if site is not None else None
    if as_json:
        checks = list(examine(results, described))
        ok = all(check.level != "broken" for check in checks)
        found = [check.as_json() for check in checks]
        click.echo(json.dumps({"ok": ok, "checks": found}, indent=1))
        return 0 if ok else 1
    from rich.console import Console
    from rich.text import Text

    console, section, broken = Console(highlight=False), "", 0
    for check in examine(results, described):
        if check.section != section:
            section = check.section
            console.print(Text(section, style="bold"))
        mark, style = MARKS[check.level]
        broken += check.level == "broken"
        line = Text.assemble((f"  {mark:<6} ", style), f"{check.name:<17} {check.value}")
        if check.advice:
            line.append(f"  ({check.advice})", style="dim")
        console.print(line, soft_wrap=True)
    if broken:
        console.print(Text(f"{broken} broken: the benchmark cannot run here yet", style="bold red"))
    else:
        console.print(Text("the benchmark can run here", style="bold green"))
    return 1 if broken else 0
