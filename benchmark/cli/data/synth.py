"""``bench data synth``: a tiny tree in a dataset's layout."""

from __future__ import annotations

from pathlib import Path

import click

from medssl_bench.cli.data.chosen import one_of

EPILOG = """\b
Examples:
  bench data synth kits --out /tmp/kits
  bench data synth lits --tree Decathlon --out /tmp/lits
  bench data synth brats2021 --out /tmp/brats
  bench run --methods scratch --tasks kits --data /tmp/kits --shots 2 --profile demo
"""


@click.command("synth", epilog=EPILOG, short_help="Write a tiny tree in a dataset's layout.")
@click.argument("name", metavar="NAME")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder"
)
@click.option("--tree", metavar="NAME", help="Which layout, where the dataset is met in several")
def command(name: str, out: Path, tree: str | None) -> int:
    """Write a few made-up cases of NAME in its official layout, to try it without its data.

    Ids, axis codes, label ids and file formats are those of the dataset, its traps included; the
    pictures are ellipsoids. Nothing is overwritten.
    """
    from medssl_bench.validation import check_writable

    owner, _ = one_of(name, (), ())
    check_writable(out)
    files = owner.write_samples(out, tree)
    click.echo(f"wrote {len(files)} files to {out}; next: bench data verify {name} --data {out}")
    return 0
