"""``bench data split``: who trains and who is tested, as a file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from medssl_bench.cli.data.chosen import one_of

EPILOG = """\b
Examples:
  bench data split lits --data /datasets --out lits_split.json
  bench data split la --data /datasets --split la_train.list,la_test.list --out la_split.json
  bench run --methods scratch --tasks la --data /datasets --split la_split.json --dry-run
"""


@click.command("split", epilog=EPILOG, short_help="Write who trains and who is tested.")
@click.argument("name", metavar="TASK")
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
@click.option(
    "--split", "files", multiple=True, metavar="FILE[,FILE]", help="Lists to use, not TASK's rule"
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="A JSON file"
)
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def command(
    name: str,
    data: tuple[str, ...],
    files: tuple[str, ...],
    out: Path,
    plugins: tuple[Path, ...],
) -> int:
    """Write the resolved split of TASK: cases and patients of both sides, rule and digest.

    `--split FILE` of other commands takes it back; the same split gives the same digest, so that
    nothing runs twice. It also checks a published list against the data and turns it into this.
    """
    from medssl_bench.durable import temporary_name, write_durably
    from medssl_bench.errors import BenchError
    from medssl_bench.planned_data import find_cases
    from medssl_bench.split_file import parse_splits, split_document
    from medssl_bench.task import Corpus
    from medssl_bench.validation import check_writable, listing_faults, raise_errors

    task, folders = one_of(name, data, plugins)
    if isinstance(task, Corpus):
        raise BenchError(f"{name}: a corpus has no test cases to split off")
    cases, source, notes = find_cases(task, folders, parse_splits(files, [task.name]))
    for note in notes:
        click.echo(f"warning: {task.name}: {note}", err=True)
    raise_errors(listing_faults(cases), task.name)
    document = split_document(task, cases, source)
    check_writable(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_name(out)
    write_durably(unfinished, (json.dumps(document, indent=1) + "\n").encode())
    unfinished.replace(out)
    click.echo(
        f"wrote {out}: {len(document['train'])} training and {len(document['test'])} test cases,"
        f" digest {document['digest'][:12]}"
    )
    return 0
