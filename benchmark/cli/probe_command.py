"""``bench probe``: what frozen features tell of organs, before any fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from medssl_bench.cli.options import choosing

EPILOG = """\b
Examples:
  bench probe --profile demo --methods all --task phantom_ct --results demo
  bench probe --methods smit,simmim --task amos_mri --data /datasets --crops 8
  bench probe --methods smit --task liver.yaml --level stage3 --json

\b
`bench pretrain` with the same methods and options makes what is probed; `scratch`, the random
encoder, always has a row.
Exit codes: 0 done, 1 some pretraining is not recorded (the others are probed), 2 wrong usage.
"""


@click.command("probe", epilog=EPILOG, short_help="Probe frozen features for organs.")
@click.option("--methods", default="all", show_default=True, help="A,B | all | family:mim")
@click.option("--task", required=True, help="A name or the path of a task.yaml")
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option(
    "--split", multiple=True, metavar="[TASK=]FILE[,FILE]", help="Lists in place of the task's rule"
)
@click.option("--level", help="Feature level whose mean is probed [default: the coarsest]")
@click.option("--crops", type=click.IntRange(1), help="Random crops of each case [default: 16]")
@click.option(
    "--share", type=click.FloatRange(0, 1, max_open=True),
    help="Share of a crop's voxels from which on an organ is in it [default: 0.001]",
)  # fmt: skip
@choosing
def command(
    task: str,
    level: str | None,
    crops: int | None,
    share: float | None,
    as_json: bool,
    plain: bool,
    **options: Any,
) -> int:
    """Probe the recorded encoders for organ presence by a linear map and by neighbours.

    Random crops of the training cases teach, those of the test cases are scored; features are the
    mean of one level over a crop. Prints a table and writes probe.json and probe.csv to the results
    folder.
    """
    from medssl_bench.api import make_plan
    from medssl_bench.errors import BenchError
    from medssl_bench.probing import probe_plan, write_probe
    from medssl_bench.progress import Progress
    from medssl_bench.stages.probe import ProbeSettings

    plan, root, cache = make_plan(tasks=task, **options)
    if len(plan.tasks) != 1:
        raise BenchError(f"--task {task}: one task at a time; {len(plan.tasks)} match")
    given: dict[str, Any] = {"level": level, "crops": crops, "share": share}
    settings = ProbeSettings(**{name: value for name, value in given.items() if value is not None})
    with Progress(plain or None, quiet=as_json) as progress:
        document = probe_plan(plan, root, cache, settings, progress.emit)
    folder = write_probe(document, root)
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        click.echo(f"{_text(document)}\nwrote probe.json and probe.csv to {folder}")
    return 1 if document["missing"] else 0


def _text(document: Mapping[str, Any]) -> str:
    """Show a probe as a table, best first, and say what it says."""
    from medssl_bench.probing import RANDOM, how_to_get

    crops, cases, main = document["crops"], document["cases"], document["backbone"]
    rows = [["method", "linear AUC", f"minus {RANDOM}", "kNN AUC", f"minus {RANDOM}"]]
    for row in document["methods"]:
        cells = [
            _interval(row[kind], *names)
            for kind in ("linear", "knn")
            for names in (("mean", "low", "high", ".3f"), ("gain", "gain_low", "gain_high", "+.3f"))
        ]
        own = "" if row["backbone"] == main else f" on {row['backbone']}"
        rows.append([row["method"] + own, *cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    (level,) = (
        row["feature_level"]
        for row in document["methods"]
        if (row["method"], row["backbone"]) == (RANDOM, main)
    )
    lines = [
        f"{document['task']}: which organs are in a crop, told from frozen features of {main}",
        f"mean of level {level['name']} ({level['channels']} channels) over crops of"
        f" {'x'.join(map(str, document['crop']))} voxels: {crops['train']} of {cases['train']}"
        f" training cases, {crops['test']} of {cases['test']} test cases",
        "",
        *table,
        "",
        "Mean ROC-AUC of the organs, 0.5 is chance; 95 % intervals over test cases, differences"
        f" to {RANDOM} of the same backbone paired by case.",
        *_findings(document),
    ]
    if document["missing"]:
        names = document["missing"]
        lines.append(f"Not recorded, so not probed: {', '.join(names)}; {how_to_get(names)}.")
    lines += [f"warning: {text}" for text in document["warnings"]]
    return "\n".join(lines)


def _interval(
    numbers: Mapping[str, float | None], value: str, low: str, high: str, form: str
) -> str:
    """Show ``value [low, high]``; what is missing is left away."""
    shown = ["" if numbers[name] is None else f"{numbers[name]:{form}}" for name in (low, high)]
    first = "" if numbers[value] is None else f"{numbers[value]:{form}}"
    return f"{first} [{', '.join(shown)}]" if all(shown) else first


def _findings(document: Mapping[str, Any]) -> list[str]:
    """Say what the linear probe says, and which organs it could not be asked about."""
    from medssl_bench.probing import RANDOM

    above: list[str] = []
    below: list[str] = []
    alike: list[str] = []
    for row in document["methods"]:
        low, high = row["linear"]["gain_low"], row["linear"]["gain_high"]
        if row["method"] != RANDOM and low is not None:
            side = above if low > 0 else below if high < 0 else alike
            side.append(row["method"])
    found = [
        f"{words} {RANDOM}: {', '.join(names)}"
        for words, names in (
            ("above", above),
            ("below", below),
            ("not told apart from", alike),
        )
        if names
    ]
    lines = [f"By the linear probe {'; '.join(found)}."] if found else []
    if collapsed := [row["method"] for row in document["methods"] if row["collapsed"]]:
        lines.append(
            f"Features all but constant at the end of pretraining: {', '.join(collapsed)}; a probe"
            " standardises what little differs, fine-tuning does not."
        )
    scored = document["methods"][0]["linear"]["targets"]
    unscored = [name for name, auc in scored.items() if auc is None]
    if unscored:
        lines.append(f"Left out, in all or none of the crops: {', '.join(unscored)}.")
    return lines
