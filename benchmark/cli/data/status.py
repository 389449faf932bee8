"""``bench data status``: what is found of tasks and corpora, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import click

from medssl_bench.cli.data.blocks import block
from medssl_bench.cli.data.chosen import chosen_of

EPILOG = """\b
Examples:
  bench data status
  bench data status amos_ct amos_mri --data /datasets
  bench data status my_task.yaml --data my_task=/scans --json
  bench data status brats2021 ixi:T1 corpus:adni --data /datasets

\b
Exit codes: 0 whatever is found or missing, 2 wrong usage.
"""


@click.command("status", epilog=EPILOG, short_help="What is found, what is missing.")
@click.argument("tasks", nargs=-1, metavar="[NAME]...")
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `name`")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def command(
    tasks: tuple[str, ...], data: tuple[str, ...], as_json: bool, plugins: tuple[Path, ...]
) -> int:
    """Say for each NAME where its data was looked for, what was found, and how to get the rest.

    NAME is a task, a corpus, a wildcard or the path of a task.yaml; without one, every registered
    task and every published corpus. Headers are read, voxels are not.
    """
    from medssl_bench.corpus_inventory import take_corpus_stock
    from medssl_bench.inventory import take_stock
    from medssl_bench.task import Corpus

    chosen, folders = chosen_of(tasks or ("all", "corpus:all"), data, plugins)
    stocks = (
        take_corpus_stock(owner, folders)
        if isinstance(owner, Corpus)
        else take_stock(owner, folders)
        for owner in chosen
    )
    if as_json:
        click.echo(json.dumps([stock.as_json() for stock in stocks], indent=1))
        return 0
    for number, stock in enumerate(stocks):
        click.echo(("\n" if number else "") + block(stock))
    return 0
