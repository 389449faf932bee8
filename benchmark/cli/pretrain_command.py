"""``bench pretrain``: only the pretraining, for later runs to start from."""

from __future__ import annotations

from typing import Any

import click

from medssl_bench.cli.options import planning

EPILOG = """\b
Examples:
  bench pretrain --methods simmim,smit --corpus folder:/scans/unlabelled
  bench pretrain --methods smit --corpus brats2021 --data /datasets
  bench pretrain --methods all --profile demo --dry-run
  bench pretrain --methods smit --crop 128 --corpus-size 3000 --devices 4

\b
`bench run` with the same methods and settings starts from what is recorded here.
Exit codes: 0 done, 1 a pretraining failed, 2 wrong usage (nothing started).
"""


@click.command("pretrain", epilog=EPILOG, short_help="Run only the pretraining.")
@click.option("--methods", required=True, help="A,B | all | family:mim | a wildcard")
@click.option(
    "--data", multiple=True, metavar="DIR|NAME=DIR", help="Where corpus and probe task lie"
)
@planning
def command(**options: Any) -> int:
    """Pretrain every method asked for that is not recorded yet, and record its encoder."""
    from medssl_bench.cli.planned import plan_and_carry_out

    return plan_and_carry_out({"tasks": None, **options})
