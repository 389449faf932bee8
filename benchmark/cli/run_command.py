"""``bench run``: the main job."""

from __future__ import annotations

from typing import Any

import click

from medssl_bench.cli.options import planning

EPILOG = """\b
Examples:
  bench run --profile demo --methods scratch,smit --tasks phantom_ct --shots 5,full
  bench run --methods smit,simmim --tasks amos_mri --shots 5,10,full --data amos_mri=/data/amos22
  bench run --methods family:mim --tasks my_task.yaml --shots 20% --draws 5 --dry-run
  bench run --methods all --tasks amos_ct --shots full --set finetune.steps=5000
  bench run --methods all --tasks amos_ct,amos_mri --shots 5,full --executor slurm --site my.yaml

\b
Results that are recorded are skipped; a run that was killed goes on where it was.
Exit codes: 0 done, 1 some cell failed, 2 wrong usage (nothing started).
"""


@click.command("run", epilog=EPILOG, short_help="Run a grid of methods and tasks.")
@click.option("--methods", required=True, help="A,B | all | family:mim | a wildcard")
@click.option("--tasks", required=True, help="Names or paths of task.yaml files, joined by commas")
@click.option("--shots", default="full", show_default=True, help="5,10,20%,full")
@click.option("--draws", type=click.IntRange(1), help="Draws of labelled cases for each shots")
@click.option("--seeds", type=click.IntRange(1), help="Training seeds for each draw")
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option(
    "--split", multiple=True, metavar="[TASK=]FILE[,FILE]", help="Lists in place of the task's rule"
)
@click.option("--select", help="Weights to evaluate: last | validation [default: last]")
@click.option(
    "--keep-predictions/--no-keep-predictions",
    default=None,
    help="Label maps of test cases, for `bench view` [default: the profile's: demo keeps them]",
)
@planning
def command(**options: Any) -> int:
    """Pretrain, fine-tune, evaluate and record everything asked for that is not recorded yet."""
    from medssl_bench.cli.planned import plan_and_carry_out

    return plan_and_carry_out(options)
