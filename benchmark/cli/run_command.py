"""``bench run``: the main job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.runner import Failure
    from medssl_bench.store import Store

EPILOG = """\b
Examples:
  bench run --profile demo --methods scratch,smit --tasks phantom_ct --shots 5,full
  bench run --methods smit,simmim --tasks amos_mri --shots 5,10,full --data amos_mri=/data/amos22
  bench run --methods family:mim --tasks my_task.yaml --shots 20% --draws 5 --dry-run
  bench run --methods all --tasks amos_ct --shots full --set finetune.steps=5000

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
@click.option("--pretrain-seed", type=click.IntRange(0), help="Seed of pretraining")
@click.option("--profile", help="demo | quick | paper [default: bench.yaml's, else quick]")
@click.option("--corpus", help="NAME or folder:PATH[,PATH]")
@click.option("--backbone", help="See `bench list backbones`")
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--select", help="Weights to evaluate: last | validation [default: last]")
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True,
    help="Processes on this machine that share the work",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Validate and print the plan, start nothing")
@click.option("--calibrate", is_flag=True, help="Time a few steps to say how long the plan takes")
@click.option("--set", "assignments", multiple=True, metavar="KEY.PATH=VALUE", help="Any setting")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers methods, tasks, backbones or corpora",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the plan or outcome as JSON")
@click.option("--plain", is_flag=True, help="Plain progress lines, no bars")
def command(
    workers: int, dry_run: bool, calibrate: bool, as_json: bool, plain: bool, **options: Any
) -> int:
    """Pretrain, fine-tune, evaluate and record everything asked for that is not recorded yet."""
    from medssl_bench.api import check_room, execute, make_plan
    from medssl_bench.describe import plan_json, plan_text
    from medssl_bench.estimate import hours
    from medssl_bench.progress import Progress
    from medssl_bench.store import Store

    plan, root, cache = make_plan(**options)
    check_room(plan, root, cache)
    expected = hours(plan, Store(root, read_only=True, missing_ok=True))
    if calibrate:
        from medssl_bench.calibration import measured_hours

        with Progress(plain or None, quiet=as_json) as progress:
            expected = measured_hours(plan, cache, progress.emit)
    if not as_json:
        click.echo(plan_text(plan, root, cache, expected, workers))
    if dry_run:
        if as_json:
            click.echo(json.dumps(plan_json(plan, root, cache, expected), indent=1))
        return 0
    with Progress(plain or None, quiet=as_json) as progress:
        outcome = execute(plan, root, cache, workers, progress.emit)
    if as_json:
        document = plan_json(plan, root, cache, expected)
        _mark_recorded(document, plan, Store(root, read_only=True))
        document["failures"] = [{"unit": f.unit, "reason": f.reason} for f in outcome.failures]
        click.echo(json.dumps(document, indent=1))
    else:
        _summarise(plan, root, outcome.failures)
    return 0 if outcome.ok else 1


def _mark_recorded(document: dict[str, Any], plan: Plan, store: Store) -> None:
    """Say of each unit whether it is recorded now; the plan says it of before the run."""
    for shown in document["pretrainings"]:
        shown["recorded"] = store.has_pretraining(shown["key"])
    for shown, planned in zip(document["cells"], plan.cells, strict=True):
        shown["recorded"] = store.has(planned.cell)


def _summarise(plan: Plan, root: Path, failures: list[Failure]) -> None:
    for failure in failures:
        click.echo(f"failed: {failure.unit}: {failure.reason}", err=True)
    done = len(plan.cells) - sum(1 for f in failures if not f.unit.startswith("pretrain "))
    click.echo(f"{done} of {len(plan.cells)} cells are recorded in {root}")
    if done:
        click.echo(f"next: bench report --results {root}")
