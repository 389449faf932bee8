"""``bench data verify``: every voxel read, and what is wrong named."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medssl_bench.cli.data.chosen import chosen_of

if TYPE_CHECKING:
    from medssl_bench.corpus_inventory import CorpusStock
    from medssl_bench.inventory import Stock
    from medssl_bench.validation import Finding

EPILOG = """\b
Examples:
  bench data verify lits --data /datasets
  bench data verify amos_ct kits --data amos_ct=/a --data kits=/b --json
  bench data verify my_task.yaml

\b
Exit codes: 0 all is well, 1 something was found or no data is there, 2 wrong usage.
"""


@click.command("verify", epilog=EPILOG, short_help="Read every voxel and say what is wrong.")
@click.argument("tasks", nargs=-1, metavar="NAME...", required=True)
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `name`")
@click.option("--plain", is_flag=True, default=None, help="Plain progress lines, no bars")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def command(
    tasks: tuple[str, ...],
    data: tuple[str, ...],
    as_json: bool,
    plain: bool | None,
    plugins: tuple[Path, ...],
) -> int:
    """Read every image and label of each NAME and list what would spoil a result.

    Files that cannot be read, shapes and affines that disagree, voxels that are not finite, empty
    images, unknown label ids, and images that are there twice, which is a leak where one of them
    trains and the other is tested. A label without foreground is noted, and is no fault.
    """
    from medssl_bench.progress import Progress
    from medssl_bench.verification import verify as look

    chosen, folders = chosen_of(tasks, data, plugins)
    found: list[tuple[Stock | CorpusStock, list[Finding]]] = []
    with Progress(plain, quiet=as_json) as progress:
        for task in chosen:
            found.append(look(task, folders, progress.emit, plugins))
    if as_json:
        rows = [
            {
                "name": stock.owner.name,
                "state": "faulty" if stock.found and _count(findings, "error") else stock.state,
                "cases": len(stock.cases),
                **{f"{level}s": _count(findings, level) for level in LEVELS},
                "findings": [asdict(finding) for finding in findings],
            }
            for stock, findings in found
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        for stock, findings in found:
            click.echo(_verdict(stock, findings))
    return int(any(f.level != "note" for _, findings in found for f in findings))


LEVELS = ("error", "warning", "note")


def _verdict(stock: Stock | CorpusStock, findings: list[Finding]) -> str:
    """Say what was found in a task or corpus, one line for each finding."""
    if not stock.owner.needs_data:
        return f"{stock.owner.name}: generated, nothing to verify"
    counts = ", ".join(
        f"{count} {level}{'s' if count > 1 else ''}"
        for level in LEVELS
        if (count := _count(findings, level))
    )
    lines = [f"{stock.owner.name}: {len(stock.cases)} cases, {counts or 'all is well'}"]
    return "\n".join([*lines, *(f"  {finding.level:<8} {finding}" for finding in findings)])


def _count(findings: list[Finding], level: str) -> int:
    return sum(1 for finding in findings if finding.level == level)
