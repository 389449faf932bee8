"""``bench records``: records of several folders and bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

CODES = "\b\nExit codes: 0 all is well, 1 findings, 2 wrong usage.\n"
VALIDATE = f"""\b
Examples:
  bench records validate bench-results
  bench records validate mine.zip yours.zip --json

{CODES}"""
MERGE = f"""\b
Examples:
  bench records merge --into results mine.zip yours.zip
  bench records merge --into bench-results node1/bench-results node2/bench-results

{CODES}"""
DIFF = """\b
Examples:
  bench records diff bench-results mine.zip
  bench records diff before after --json

\b
Exit codes: 0 equal, 1 different, 2 wrong usage or wrong input.
"""


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of all three."""
    shown = click.option("--plain", is_flag=True, default=None, help="Plain progress, no bars")
    return click.option("--json", "as_json", is_flag=True, help="Print as JSON")(shown(function))


GROUP = """\b
Examples:
  bench records validate mine.zip
  bench records merge --into results mine.zip
  bench records diff bench-results mine.zip
"""


@click.group("records", epilog=GROUP, short_help="Validate, merge and compare records.")
def command() -> None:
    """Validate, merge and compare the records of results folders and of bundles.

    FOLDER is a results folder as `bench run` writes it, BUNDLE a file of `bench submit`.
    """


@command.command("validate", epilog=VALIDATE, short_help="Look for everything that is wrong.")
@click.argument(
    "sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER|BUNDLE..."
)
@click.option(
    "--allow-conflicts", is_flag=True,
    help="Exit 0 where all that was found is runs of one cell with different numbers",
)  # fmt: skip
@_shared
def validate_command(
    sources: tuple[Path, ...], allow_conflicts: bool, as_json: bool, plain: bool | None
) -> int:
    """Look at everything that `bench submit` looks at, and list all that is wrong.

    Each bundle, and each submission that was merged into a folder, is one set: methods are compared
    on equal draws and seeds within it. Several sources are compared for cells that they share.
    """
    from medssl_bench.progress import Progress
    from medssl_bench.records.finding import as_table
    from medssl_bench.records.validate import validate

    with Progress(plain, quiet=as_json) as progress:
        count, findings = validate(sources, progress.emit)
    if as_json:
        document = {"records": count, "findings": [finding.document() for finding in findings]}
        click.echo(json.dumps(document, indent=1))
    else:
        if findings:
            click.echo(as_table(findings) + "\n")
        click.echo(f"{count} sound records, {len(findings) or 'no'} findings")
    return int(any(f.level == "error" or not allow_conflicts for f in findings))


@command.command("merge", epilog=MERGE, short_help="Add records to a results folder.")
@click.option("--into", required=True, type=click.Path(path_type=Path), metavar="DIR")
@click.argument(
    "sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE..."
)
@_shared
def merge_command(into: Path, sources: tuple[Path, ...], as_json: bool, plain: bool | None) -> int:
    """Add the records of each SOURCE, a results folder or a bundle, to a results folder.

    A source with findings is left out whole. A cell that is there already is left alone if its
    numbers are the same; if they differ both runs are kept, the new one in DIR/conflicts, and
    named. Merging twice adds nothing.
    """
    from medssl_bench.progress import Progress
    from medssl_bench.records.finding import as_table
    from medssl_bench.records.merge import merge

    with Progress(plain, quiet=as_json) as progress:
        outcome = merge(into, sources, progress.emit)
    words = {
        "added": "added", "there": "there already", "repeated": "repeated with the same numbers",
        "conflict": "kept beside a run with other numbers",
    }  # fmt: skip
    counts = {state: outcome.count(state) for state in words}  # type: ignore[arg-type]
    if as_json:
        findings = [finding.document() for finding in outcome.findings]
        click.echo(json.dumps({"into": str(into), **counts, "findings": findings}, indent=1))
    else:
        if outcome.findings:
            click.echo(as_table(outcome.findings) + "\n")
        told = [f"{count} {words[state]}" for state, count in counts.items() if count]
        click.echo(f"{into}: {', '.join(told) or 'nothing merged'}")
    return int(bool(outcome.findings))


@command.command("diff", epilog=DIFF, short_help="Compare two sets cell by cell.")
@click.argument("first", type=click.Path(path_type=Path), metavar="A")
@click.argument("second", type=click.Path(path_type=Path), metavar="B")
@_shared
def diff_command(first: Path, second: Path, as_json: bool, plain: bool | None) -> int:
    """Compare the cells of two results folders or bundles: equal, different, only in one.

    Numbers are equal if every number of the case tables is, to the last bit.
    """
    from medssl_bench.progress import Progress
    from medssl_bench.records.compare import as_text, compare
    from medssl_bench.records.finding import as_table

    with Progress(plain, quiet=as_json) as progress:
        pairs, findings = compare(first, second, progress.emit)
    if as_json:
        document = {
            "cells": [pair.document() for pair in pairs],
            "findings": [finding.document() for finding in findings],
        }
        click.echo(json.dumps(document, indent=1))
    else:
        if findings:
            click.echo(as_table(findings) + "\n")
        click.echo(f"A {first}\nB {second}\n{as_text(pairs)}")
    return int(bool(findings) or any(pair.state not in ("equal", "repeated") for pair in pairs))
