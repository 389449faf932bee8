"""``bench data show``: a case with its label, as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from medssl_bench.cli.data.chosen import cases_of, one_of

EPILOG = """\b
Examples:
  bench data show lits liver_0 --data /datasets
  bench data show my_task.yaml case_001 --out case.png
"""


@click.command("show", epilog=EPILOG, short_help="Draw a case with its label.")
@click.argument("name", metavar="NAME")
@click.argument("case", metavar="CASE")
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: CASE.png]")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def command(
    name: str, case: str, data: tuple[str, ...], out: Path | None, plugins: tuple[Path, ...]
) -> int:
    """Write a contact sheet of a CASE as PNG: axial slices of each channel, plain and labelled.

    What makes one doubt that the label is of this case is said: it lies elsewhere than the image,
    or its file is that of another case.
    """
    from medssl_bench.contact_sheet import contact_sheet
    from medssl_bench.durable import temporary_name, write_durably
    from medssl_bench.errors import BenchError, did_you_mean
    from medssl_bench.validation import check_writable, doubts_of

    owner, folders = one_of(name, data, plugins)
    cases = {found.id: found for found in cases_of(owner, folders)}
    if reason := getattr(owner, "left_out", {}).get(case):
        raise BenchError(f"{name}: {case} is left out: {reason}")
    if case not in cases:
        raise BenchError(f"{name}: no case {case!r}.{did_you_mean(case, cases)}")
    out = out or Path(f"{case.replace('/', '_')}.png")
    check_writable(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = contact_sheet(cases[case], owner)
    unfinished = temporary_name(out)
    write_durably(unfinished, picture)
    unfinished.replace(out)
    click.echo(f"wrote {out}")
    for finding in doubts_of(cases[case], [*cases.values()], owner):
        click.echo(f"warning: {finding}", err=True)
    return 0
