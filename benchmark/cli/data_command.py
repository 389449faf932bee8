"""``bench data``: what there is of the data of tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medssl_bench.inventory import Stock

FINDINGS_SHOWN = 5


@click.group("data", short_help="Look at the data of tasks.")
def command() -> None:
    """Look at the data of tasks: what is there, what is missing and how to get it."""


EPILOG = """\b
Examples:
  bench data status
  bench data status amos_ct amos_mri --data /datasets
  bench data status my_task.yaml --data my_task=/scans --json

\b
Exit codes: 0 whatever is found or missing, 2 wrong usage.
"""


@command.command("status", epilog=EPILOG, short_help="What is found, what is missing.")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `name`")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def status(
    tasks: tuple[str, ...], data: tuple[str, ...], as_json: bool, plugins: tuple[Path, ...]
) -> int:
    """Say for each TASK where its data was looked for, what was found, and how to get the rest.

    TASK is a name, a wildcard or the path of a task.yaml; every registered task without one.
    Headers are read, voxels are not.
    """
    from medssl_bench.inventory import take_stock
    from medssl_bench.registry import load_plugin
    from medssl_bench.registry import tasks as registered
    from medssl_bench.tasks import load_tasks
    from medssl_bench.workspace import load_workspace, parse_data

    for plugin in plugins:
        load_plugin(plugin)
    chosen = load_tasks(tasks or ("all",))
    names = {*registered.entries(), *(task.name for task in chosen)}
    folders = parse_data(data, load_workspace().data_folders(), names)
    stocks = (take_stock(task, folders) for task in chosen)
    if as_json:
        click.echo(json.dumps([stock.as_json() for stock in stocks], indent=1))
        return 0
    for number, stock in enumerate(stocks):
        click.echo(("\n" if number else "") + _text(stock))
    return 0


def _text(stock: Stock) -> str:
    """Describe a task's data in a block of lines."""
    task = stock.task
    lines = [
        f"{task.name}: {stock.state}, {stock.shown('train')} training and {stock.shown('test')}"
        f" test cases",
        _line("classes", f"{len(task.classes)}: {', '.join(task.classes.values())}"),
        _line("licence", task.licence),
    ]
    if task.needs_data and stock.folder is not None:
        lines.append(_line("looked in", str(stock.folder.absolute())))
    if not stock.found:
        lines.append(_line("missing", stock.reason))
    if task.access:
        lines.append(_line("from", task.access))
    if not stock.found and task.tree():
        lines.append(_line("expected", task.tree()))
    if stock.findings:
        counts = f"{stock.count_of('error')} errors, {stock.count_of('warning')} warnings"
        shown = [f"{f.level}: {f}" for f in stock.findings[:FINDINGS_SHOWN]]
        if len(stock.findings) > FINDINGS_SHOWN:
            shown.append(f"and {len(stock.findings) - FINDINGS_SHOWN} more; --json has them all")
        lines.append(_line("headers", "\n".join([counts, *shown])))
    return "\n".join(lines)


def _line(title: str, text: str) -> str:
    """Return text behind a title, its further lines below its first."""
    return f"  {title:<10}" + text.replace("\n", "\n" + " " * 12)
