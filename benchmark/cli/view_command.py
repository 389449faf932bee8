"""``bench view``: one case of a record in 3D, as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medssl_bench.task import Task

EPILOG = """\b
Examples:
  bench view 3f9a01
  bench view 3f9a01 amos_0507 --data amos_mri=/data/amos22 --open
  bench view 3f9a01 BraTS-PED-00002-000 --channel t2f
  bench view bench-results/records/my_task/SLUG case_07 --task my_task.yaml --out case_07.html

\b
`bench status --json` lists the keys. The cell must have been run with --keep-predictions.
Exit codes: 0 done, 2 wrong usage, no predictions kept, or other data than the record's.
"""

LARGE = 200e6
"""Bytes of a page from which on browsers take long to open it."""


@click.command("view", epilog=EPILOG, short_help="Write a 3D viewer of a case.")
@click.argument("cell")
@click.argument("case", required=False)
@click.option("--results", type=click.Path(path_type=Path), help="[default: bench-results]")
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option(
    "--task", "task_file", type=click.Path(path_type=Path), metavar="FILE",
    help="The task.yaml of a task of yours",
)  # fmt: skip
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers the task",
)  # fmt: skip
@click.option("--channel", metavar="NAME", help="Of several, the one shown [default: the first]")
@click.option(
    "--max-size", type=click.IntRange(8), metavar="N",
    help="Voxels along an axis; longer ones are thinned [default: all are shown]",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="[default: RESULTS/views/TASK/CELL/CASE.html]",
)  # fmt: skip
@click.option("--open", "show", is_flag=True, help="Open it in the browser")
def command(
    cell: str,
    case: str | None,
    results: Path | None,
    data: tuple[str, ...],
    task_file: Path | None,
    plugins: tuple[Path, ...],
    channel: str | None,
    max_size: int | None,
    out: Path | None,
    show: bool,
) -> int:
    """Write scan, reference and prediction of a CASE of a CELL as one HTML file for a browser.

    CELL is a record's folder, its name, its key or the start of it. Without CASE it is the one of
    median Dice. The file works from disk and asks nothing of a network.
    """
    from medssl_bench import registry
    from medssl_bench.record_folders import read_record
    from medssl_bench.registry import load_plugins
    from medssl_bench.viewer import chosen as choice
    from medssl_bench.viewer import page
    from medssl_bench.workspace import load_workspace, parse_data

    load_plugins(plugins)
    workspace = load_workspace()
    page.niivue()  # missing, it is said before any scan is read
    folder = choice.find_folder(results or workspace.results, cell)
    task = _task(read_record(folder).cell.task, task_file)
    names = {*registry.tasks.entries(), task.name}
    where = parse_data(data, workspace.data_folders(), names)
    chosen = choice.choose(folder, case, task, where, channel)
    other = chosen.channel if chosen.channel != choice.default_channel(task) else None
    path = out or choice.view_path(folder, chosen.case, other)
    written = page.write(page.render(chosen, max_size), path)
    which = "" if case is not None else ", the case of median Dice"
    click.echo(f"{chosen.case}{which}: {written.path} ({written.size / 1e6:.1f} MB)")
    if written.size > LARGE:
        click.echo(
            f"a large page opens slowly; --max-size {max(chosen.scan.array.shape) // 2}"
            " would thin it"
        )
    if show:
        import webbrowser

        webbrowser.open(written.path.resolve().as_uri())
    return 0


def _task(name: str, file: Path | None) -> Task:
    """Return the task of a record; raises BenchError where it is not known or another."""
    from medssl_bench import registry
    from medssl_bench.errors import BenchError
    from medssl_bench.tasks import load_tasks

    if file is None and name not in registry.tasks.entries():
        raise BenchError(
            f"task {name} is not among those of `bench list tasks`; name its file with --task"
            " (or --plugin)"
        )
    task = load_tasks([str(file or name)])[0]
    if task.name != name:
        raise BenchError(f"--task {file}: it is task {task.name}, the record is of {name}")
    return task
