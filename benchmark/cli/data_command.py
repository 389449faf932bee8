"""``bench data``: what there is of the data of tasks, and whether it is sound."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medssl_bench.inventory import Stock
    from medssl_bench.task import Task
    from medssl_bench.validation import Finding

FINDINGS_SHOWN = 5


@click.group("data", short_help="Look at the data of tasks.")
def command() -> None:
    """Look at the data of tasks: what is there, what is missing, what is wrong, what it shows."""


EPILOG = """\b
Examples:
  bench data status
  bench data status amos_ct amos_mri --data /datasets
  bench data status my_task.yaml --data my_task=/scans --json

\b
Exit codes: 0 whatever is found or missing, 2 wrong usage.
"""


@command.command("status", epilog=EPILOG, short_help="What is found, what is missing.")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `name`")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def status(
    tasks: tuple[str, ...], data: tuple[str, ...], as_json: bool, plugins: tuple[Path, ...]
) -> int:
    """Say for each TASK where its data was looked for, what was found, and how to get the rest.

    TASK is a name, a wildcard or the path of a task.yaml; every registered task without one.
    Headers are read, voxels are not.
    """
    from medssl_bench.inventory import take_stock

    chosen, folders = _chosen(tasks or ("all",), data, plugins)
    stocks = (take_stock(task, folders) for task in chosen)
    if as_json:
        click.echo(json.dumps([stock.as_json() for stock in stocks], indent=1))
        return 0
    for number, stock in enumerate(stocks):
        click.echo(("\n" if number else "") + _text(stock))
    return 0


VERIFY = """\b
Examples:
  bench data verify lits --data /datasets
  bench data verify amos_ct kits --data amos_ct=/a --data kits=/b --json
  bench data verify my_task.yaml

\b
Exit codes: 0 all is well, 1 something was found or no data is there, 2 wrong usage.
"""


@command.command("verify", epilog=VERIFY, short_help="Read every voxel and say what is wrong.")
@click.argument("tasks", nargs=-1, metavar="TASK...", required=True)
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `name`")
@click.option("--plain", is_flag=True, default=None, help="Plain progress lines, no bars")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def verify(
    tasks: tuple[str, ...],
    data: tuple[str, ...],
    as_json: bool,
    plain: bool | None,
    plugins: tuple[Path, ...],
) -> int:
    """Read every image and label of each TASK and list what would spoil a result.

    Files that cannot be read, shapes and affines that disagree, voxels that are not finite, empty
    images, unknown label ids, and images that are there twice, which is a leak where one of them
    trains and the other is tested. A label without foreground is noted, and is no fault.
    """
    from medssl_bench.progress import Progress
    from medssl_bench.verification import verify as look

    chosen, folders = _chosen(tasks, data, plugins)
    found: list[tuple[Stock, list[Finding]]] = []
    with Progress(plain, quiet=as_json) as progress:
        for task in chosen:
            found.append(look(task, folders, progress.emit, plugins))
    if as_json:
        rows = [
            {
                "name": stock.task.name,
                "state": "faulty" if stock.found and _count(findings, "error") else stock.state,
                "cases": len(stock.cases),
                **{f"{level}s": _count(findings, level) for level in LEVELS},
                "findings": [asdict(finding) for finding in findings],
            }
            for stock, findings in found
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        for stock, findings in found:
            click.echo(_verdict(stock, findings))
    return int(any(f.level != "note" for _, findings in found for f in findings))


LEVELS = ("error", "warning", "note")


def _verdict(stock: Stock, findings: list[Finding]) -> str:
    """Say what was found in a task, one line for each finding."""
    if not stock.task.needs_data:
        return f"{stock.task.name}: generated, nothing to verify"
    counts = ", ".join(
        f"{count} {level}{'s' if count > 1 else ''}"
        for level in LEVELS
        if (count := _count(findings, level))
    )
    lines = [f"{stock.task.name}: {len(stock.cases)} cases, {counts or 'all is well'}"]
    return "\n".join([*lines, *(f"  {finding.level:<8} {finding}" for finding in findings)])


def _count(findings: list[Finding], level: str) -> int:
    return sum(1 for finding in findings if finding.level == level)


PREPARE = """\b
Examples:
  bench data prepare amos_ct kits --data /datasets --dry-run
  bench data prepare my_task.yaml --results results

\b
Exit codes: 0 all is prepared, 1 some cases are faulty (named), 2 wrong usage.
"""


@command.command("prepare", epilog=PREPARE, short_help="Fill the cache before anything runs.")
@click.argument("tasks", nargs=-1, metavar="TASK...", required=True)
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
@click.option(
    "--results", type=click.Path(path_type=Path), help="Whose cache is filled [bench-results]"
)
@click.option("--dry-run", is_flag=True, help="Say what there is to do and stop")
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `name`")
@click.option("--plain", is_flag=True, default=None, help="Plain progress lines, no bars")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def prepare(
    tasks: tuple[str, ...],
    data: tuple[str, ...],
    results: Path | None,
    dry_run: bool,
    as_json: bool,
    plain: bool | None,
    plugins: tuple[Path, ...],
) -> int:
    """Resample and scale every case of each TASK into the cache, where runs find them.

    A run prepares what it needs by itself; this does all of it at once, on all cores, for example
    before GPUs are asked for. What is prepared is passed over, so it goes on where it was stopped.
    """
    from medssl_bench.data.digest_index import INDEX
    from medssl_bench.estimate import unprepared
    from medssl_bench.plan import data_folder
    from medssl_bench.preparation import prepare_cases
    from medssl_bench.progress import Progress
    from medssl_bench.validation import check_disk, check_writable
    from medssl_bench.workspace import load_workspace

    chosen, folders = _chosen(tasks, data, plugins)
    workspace = load_workspace()
    cache = workspace.cache or (results or workspace.results) / "cache"
    check_writable(cache)
    INDEX.use(cache)
    rows: list[dict[str, Any]] = []
    work = []
    for task in chosen:
        cases = task.cases(data_folder(task.name, folders))
        missing, size = unprepared(task, cases, cache)
        work.append((task, missing))
        rows.append(
            {"name": task.name, "cases": len(cases), "missing": len(missing), "bytes": size}
        )
        if not as_json:
            click.echo(
                f"{task.name}: {len(cases)} cases, {len(missing)} to prepare,"
                f" at most {size / 2**30:.1f} GiB in {cache}"
            )
    check_disk(cache, sum(row["bytes"] for row in rows))
    failed = False
    with Progress(plain, quiet=as_json) as progress:
        for row, (task, missing) in zip(rows, work, strict=True):
            faults = {} if dry_run or not missing else prepare_cases(
                task, missing, cache, progress.emit, plugins
            )  # fmt: skip
            row["faults"] = faults
            failed |= bool(faults)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        for row in rows:
            for case, fault in row["faults"].items():
                click.echo(f"error: {row['name']}: {case}: {fault}")
    return int(failed)


SYNTH = """\b
Examples:
  bench data synth kits --out /tmp/kits
  bench data synth lits --tree Decathlon --out /tmp/lits
  bench run --methods scratch --tasks kits --data /tmp/kits --shots 2 --profile demo
"""


@command.command("synth", epilog=SYNTH, short_help="Write a tiny tree in a dataset's layout.")
@click.argument("name", metavar="TASK")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder"
)
@click.option("--tree", metavar="NAME", help="Which layout, where the dataset is met in several")
def synth(name: str, out: Path, tree: str | None) -> int:
    """Write a few made-up cases of TASK in its official layout, to try it without its data.

    Ids, axis codes, label ids and file formats are those of the dataset, its traps included; the
    pictures are ellipsoids. Nothing is overwritten.
    """
    from medssl_bench.data.synthetic import synthesise
    from medssl_bench.errors import BenchError
    from medssl_bench.tasks import load_task
    from medssl_bench.tasks.release import Release
    from medssl_bench.validation import check_writable

    task = load_task(name)
    check_writable(out)
    if not isinstance(task, Release):
        raise BenchError(f"{name}: no layout to write; `bench data synth` knows published datasets")
    files = synthesise(task, out, tree)
    click.echo(f"wrote {len(files)} files to {out}; next: bench data verify {name} --data {out}")
    return 0


NNUNET = """\b
Examples:
  bench data export-nnunet kits --data /datasets --out nnUNet_raw --id 501
  bench data export-nnunet amos_mri --shots 5 --draws 3 --out nnUNet_raw --id 502

\b
Then, with nnU-Net:
  nnUNetv2_plan_and_preprocess -d 501 --verify_dataset_integrity
  cp nnUNet_raw/Dataset501_kits/splits_final.json nnUNet_preprocessed/Dataset501_kits/
  nnUNetv2_train 501 3d_fullres 0
"""


@command.command("export-nnunet", epilog=NNUNET, short_help="Write a raw dataset of nnU-Net.")
@click.argument("name", metavar="TASK")
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
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
def export_nnunet(
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
    from medssl_bench.plan import find_cases
    from medssl_bench.progress import Progress
    from medssl_bench.split_file import parse_splits
    from medssl_bench.validation import check_writable

    task, folders = _one(name, data, plugins)
    check_writable(out)
    cases, _, notes = find_cases(task, folders, parse_splits(files, [task.name]))
    for note in notes:
        click.echo(f"warning: {task.name}: {note}", err=True)
    with Progress(plain) as progress:
        folder = nnunet_dataset.export_nnunet(
            task, cases, out, number, shots, draws, progress.emit, plugins
        )
    click.echo(f"wrote {folder}; next: nnUNetv2_plan_and_preprocess -d {number}")
    return 0


SPLIT = """\b
Examples:
  bench data split lits --data /datasets --out lits_split.json
  bench data split la --data /datasets --split la_train.list,la_test.list --out la_split.json
  bench run --methods scratch --tasks la --data /datasets --split la_split.json --dry-run
"""


@command.command("split", epilog=SPLIT, short_help="Write who trains and who is tested.")
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
def split(
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
    from medssl_bench.plan import find_cases
    from medssl_bench.split_file import parse_splits, split_document
    from medssl_bench.validation import check_writable

    task, folders = _one(name, data, plugins)
    cases, source, notes = find_cases(task, folders, parse_splits(files, [task.name]))
    for note in notes:
        click.echo(f"warning: {task.name}: {note}", err=True)
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


SHOW = """\b
Examples:
  bench data show lits liver_0 --data /datasets
  bench data show my_task.yaml case_001 --out case.png
"""


@command.command("show", epilog=SHOW, short_help="Draw a case with its label.")
@click.argument("name", metavar="TASK")
@click.argument("case", metavar="CASE")
@click.option("--data", multiple=True, metavar="DIR|TASK=DIR", help="Where the data lies")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="[default: CASE.png]")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks",
)  # fmt: skip
def show(
    name: str, case: str, data: tuple[str, ...], out: Path | None, plugins: tuple[Path, ...]
) -> int:
    """Write a contact sheet of a CASE as PNG: axial slices of each channel, plain and labelled."""
    from medssl_bench.contact_sheet import contact_sheet
    from medssl_bench.durable import temporary_name, write_durably
    from medssl_bench.errors import BenchError, did_you_mean
    from medssl_bench.plan import data_folder
    from medssl_bench.validation import check_writable

    task, folders = _one(name, data, plugins)
    cases = {found.id: found for found in task.cases(data_folder(task.name, folders))}
    if case not in cases:
        raise BenchError(f"{name}: no case {case!r}.{did_you_mean(case, cases)}")
    out = out or Path(f"{case}.png")
    check_writable(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = contact_sheet(cases[case], task)
    unfinished = temporary_name(out)
    write_durably(unfinished, picture)
    unfinished.replace(out)
    click.echo(f"wrote {out}")
    return 0


def _one(
    name: str, data: tuple[str, ...], plugins: tuple[Path, ...]
) -> tuple[Task, dict[str, Path]]:
    """Return the one task that is meant, and where data lies by task."""
    from medssl_bench.errors import BenchError

    chosen, folders = _chosen((name,), data, plugins)
    if len(chosen) > 1:
        raise BenchError(f"{name}: {len(chosen)} tasks; name one")
    return chosen[0], folders


def _chosen(
    specs: tuple[str, ...], data: tuple[str, ...], plugins: tuple[Path, ...]
) -> tuple[list[Task], dict[str, Path]]:
    """Return the tasks asked for, and where data lies by task."""
    from medssl_bench.registry import load_plugin
    from medssl_bench.registry import tasks as registered
    from medssl_bench.tasks import load_tasks
    from medssl_bench.workspace import load_workspace, parse_data

    for plugin in plugins:
        load_plugin(plugin)
    chosen = load_tasks(specs)
    names = {*registered.entries(), *(task.name for task in chosen)}
    return chosen, parse_data(data, load_workspace().data_folders(), names)


def _text(stock: Stock) -> str:
    """Describe a task's data in a block of lines."""
    task = stock.task
    lines = [
        f"{task.name}: {stock.state}, {stock.shown('train')} training and {stock.shown('test')}"
        f" test cases",
        _line("classes", f"{len(task.classes)}: {', '.join(task.classes.values())}"),
        *([_line("measured", ", ".join(task.regions))] if task.regions else []),
        _line("licence", task.licence),
    ]
    if task.needs_data and stock.folder is not None:
        lines.append(_line("looked in", str(stock.folder.absolute())))
    if not stock.found:
        lines.append(_line("missing", stock.reason))
    if task.access:
        lines.append(_line("from", task.access))
    if not stock.found and task.tree():
        lines.append(_line("expected", task.tree()))
    if stock.findings:
        counts = f"{stock.count_of('error')} errors, {stock.count_of('warning')} warnings"
        shown = [f"{f.level}: {f}" for f in stock.findings[:FINDINGS_SHOWN]]
        if len(stock.findings) > FINDINGS_SHOWN:
            shown.append(f"and {len(stock.findings) - FINDINGS_SHOWN} more; --json has them all")
        lines.append(_line("headers", "\n".join([counts, *shown])))
    return "\n".join(lines)


def _line(title: str, text: str) -> str:
    """Return text behind a title, its further lines below its first."""
    return f"  {title:<10}" + text.replace("\n", "\n" + " " * 12)
