"""``bench init``: write bench.yaml."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Example:
  bench init && bench run --methods smit,simmim --tasks amos_mri --shots 5,10,full
"""


@click.command("init", epilog=EPILOG, short_help="Write bench.yaml.")
@click.option("--force", is_flag=True, help="Overwrite the one that is there")
def command(force: bool) -> int:
    """Write bench.yaml, the defaults of commands in this folder."""
    from medssl_bench.errors import BenchError
    from medssl_bench.workspace import FILE, TEMPLATE

    path = Path(FILE)
    if path.exists() and not force:
        raise BenchError(f"{FILE} is there already; edit it, or give --force to start anew")
    try:
        path.write_text(TEMPLATE, "utf-8")
    except OSError as error:
        raise BenchError(f"{FILE}: cannot be written ({error.strerror})") from None
    click.echo(f"wrote {FILE}; edit corpus and data, then `bench doctor`")
    return 0
