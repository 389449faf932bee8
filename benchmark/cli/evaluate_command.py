"""``bench evaluate``: anybody's predictions against references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """\b
Examples:
  bench evaluate --predictions out --references labelsTs --labels dataset.json
  bench evaluate --predictions out --references labelsTs --csv scores.csv
  bench evaluate --predictions out --references seg --labels regions.yaml --lesions met --json

\b
Files are matched by name (case_01.nii.gz), and the two folders must hold the same cases.
docs/analysis.md says how each metric is defined and how misses and empty targets count.
"""


@click.command("evaluate", epilog=EPILOG, short_help="Score NIfTI predictions.")
@click.option(
    "--predictions", required=True, type=click.Path(path_type=Path), metavar="DIR",
    help="NIfTI label maps, on the grids of the references",
)  # fmt: skip
@click.option("--references", required=True, type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="FILE",
    help="JSON or YAML with the names of label ids; nnU-Net's dataset.json will do"
    " [default: each id found is a target]",
)  # fmt: skip
@click.option(
    "--tolerance", type=click.FloatRange(0), default=1.0, show_default=True, metavar="MM",
    help="Of the surface Dice (nsd)",
)  # fmt: skip
@click.option(
    "--lesions", type=click.Choice(["gli", "ssa", "ped", "men", "met"]),
    help="Score lesion by lesion too, by the rules of this task of BraTS 2023",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1), help="Processes [default: as many as cores are of use]"
)
@click.option("--csv", type=click.Path(path_type=Path), metavar="FILE", help="Write the rows")
@click.option("--json", "as_json", is_flag=True, help="Print the rows: one a case and target")
def command(
    predictions: Path,
    references: Path,
    labels: Path | None,
    tolerance: float,
    lesions: str | None,
    workers: int | None,
    csv: Path | None,
    as_json: bool,
) -> int:
    """Score NIfTI predictions, whoever trained the model.

    Prints a summary by target: Dice, HD95, surface Dice, mean surface distance, volume error, how
    many targets were missed and how many predicted where there are none.
    """
    from medssl_bench import predictions as files
    from medssl_bench.progress import Event, Progress

    pairs = files.match(predictions, references)
    targets = files.read_targets(labels) if labels is not None else None
    scoring = files.Scoring(targets, tolerance, lesions)
    rows = []
    with Progress(quiet=as_json) as progress:
        for number, found in enumerate(files.score(pairs, scoring, workers), start=1):
            rows += found
            progress.emit(Event("evaluate", number, len(pairs), pairs[number - 1].case))
    table = files.table_of(rows, pairs)
    if csv is not None:
        _write(csv, table)
    if as_json:
        click.echo(files.as_json(table))
    else:
        click.echo(_summary(table, tolerance))
        if csv is not None:
            click.echo(f"wrote {csv}")
    return 0


def _write(path: Path, table: pd.DataFrame) -> None:
    from medssl_bench.errors import BenchError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    except OSError as error:
        raise BenchError(f"--csv {path}: cannot be written ({error.strerror})") from None


def _summary(table: pd.DataFrame, tolerance: float) -> str:
    from medssl_bench.analysis.metrics import summarise_more
    from medssl_bench.analysis.text import columns

    summary = summarise_more(table)
    heads = {
        "dice": "Dice", "hd95": "HD95", "nsd": f"NSD {tolerance:g} mm", "assd": "ASSD",
        "volume_error": "volume error", "lesion_dice": "lesion Dice", "lesion_hd95": "lesion HD95",
    }  # fmt: skip
    digits = {"hd95": ".1f", "assd": ".2f", "lesion_hd95": ".1f", "volume_error": "+.1%"}
    shown = [name for name in heads if name in summary]
    counts = ["present", "missed", "absent", "false"]
    lines = [["target", *(heads[name] for name in shown), *counts]]
    for name, row in summary.iterrows():
        cells = [
            "-" if row[metric] != row[metric] else format(row[metric], digits.get(metric, ".4f"))
            for metric in shown
        ]
        lines.append([str(name), *cells, *(str(int(row[count])) for count in counts)])
    cases = table["case"].nunique()
    return "\n".join(
        [
            columns(lines),
            "",
            f"{cases} case{'s' * (cases != 1)}. Means over the targets present in the reference,"
            " distances in mm; a missed one has Dice and NSD 0 and, as its distance, the image's"
            " diagonal. `mean` averages the targets of each case, then cases. `false` of the"
            " `absent` were predicted nevertheless.",
        ]
    )
