"""``bench data export-nnunet``: a task as a raw dataset of nnU-Net."""

from __future__ import annotations

from pathlib import Path

import click

from medssl_bench.cli.data.chosen import one_of

EPILOG = """\b
Examples:
  bench data export-nnunet kits --data /datasets --out nnUNet_raw --id 501
  bench data export-nnunet amos_mri --shots 5 --draws 3 --out nnUNet_raw --id 502

\b
Exit codes: 0 all is written, 1 some cases are faulty (named), 2 wrong usage.

\b
Then, with nnU-Net:
  nnUNetv2_plan_and_preprocess -d 501 --verify_dataset_integrity
  cp nnUNet_raw/Dataset501_kits/splits_final.json nnUNet_preprocessed/Dataset501_kits/
  nnUNetv2_train 501 3d_fullres 0
"""


@click.command("export-nnunet", epilog=EPILOG, short_help="Write a raw dataset of nnU-Net.")
@click.argument("name", metavar="TASK")
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option(
    "--split", "files", multiple=True, metavar="FILE[,FILE]", help="Lists to use, not TASK's rule"
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="nnUNet_raw"
)
@click.option("--id", "number", required=True, type=click.IntRange(1, 999), help="Dataset id")
@click.option("--shots", default="full", show_default=True, help="Labelled cases of a fold")
@click.option("--draws", default=1, show_default=True, type=click.IntRange(1), help="Folds")
@click.option("--plain", is_flag=True, default=None, help="Plain progress lines, no bars")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def command(
    name: str,
    data: tuple[str, ...],
    files: tuple[str, ...],
    out: Path,
    number: int,
    shots: str,
    draws: int,
    plain: bool | None,
    plugins: tuple[Path, ...],
) -> int:
    """Write TASK as a raw dataset of nnU-Net, to train that by itself on the same cases.

    Training cases go to imagesTr and labelsTr, test cases to imagesTs and labelsTs. Fold D of
    splits_final.json trains on the labelled cases of draw D. Nested regions (WT, TC, ET) become
    nnU-Net's regions. It goes on where it was stopped.
    """
    from medssl_bench import nnunet_dataset
    from medssl_bench.errors import BenchError
    from medssl_bench.planned_data import find_cases
    from medssl_bench.progress import Progress
    from medssl_bench.split_file import parse_splits
    from medssl_bench.task import Corpus
    from medssl_bench.validation import check_writable

    task, folders = one_of(name, data, plugins)
    if isinstance(task, Corpus):
        raise BenchError(f"{name}: a corpus has no labels to train nnU-Net on")
    check_writable(out)
    cases, _, notes = find_cases(task, folders, parse_splits(files, [task.name]))
    for note in notes:
        click.echo(f"warning: {task.name}: {note}", err=True)
    with Progress(plain) as progress:
        folder, faults = nnunet_dataset.export_nnunet(
            task, cases, out, number, shots, draws, progress.emit, plugins
        )
    if faults:
        for case, fault in faults.items():
            click.echo(f"error: {task.name}: {case}: {fault}")
        click.echo(
            f"{folder} is not finished: {len(faults)} of {len(cases)} cases are faulty; mend them"
            " and run the same command again, what is written stays"
        )
        return 1
    click.echo(f"wrote {folder}; next: nnUNetv2_plan_and_preprocess -d {number}")
    return 0
