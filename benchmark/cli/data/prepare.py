"""``bench data prepare``: the cache filled before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from medssl_bench.cli.data.chosen import cases_of, chosen_of

EPILOG = """\b
Examples:
  bench data prepare amos_ct kits --data /datasets --dry-run
  bench data prepare my_task.yaml --results results
  bench data prepare deeplesion ixi:T1 --data /datasets

\b
Exit codes: 0 all is prepared, 1 some cases are faulty (named), 2 wrong usage.
"""


@click.command("prepare", epilog=EPILOG, short_help="Fill the cache before anything runs.")
@click.argument("tasks", nargs=-1, metavar="NAME...", required=True)
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
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
def command(
    tasks: tuple[str, ...],
    data: tuple[str, ...],
    results: Path | None,
    dry_run: bool,
    as_json: bool,
    plain: bool | None,
    plugins: tuple[Path, ...],
) -> int:
    """Resample and scale every case of each NAME into the cache, where runs find them.

    A run prepares what it needs by itself; this does all of it at once, on all cores, for example
    before GPUs are asked for. What is prepared is passed over, so it goes on where it was stopped.
    """
    from medssl_bench.data.digest_index import INDEX
    from medssl_bench.estimate import unprepared
    from medssl_bench.preparation import prepare_cases
    from medssl_bench.progress import Progress
    from medssl_bench.validation import check_disk, check_writable, faulty_cases
    from medssl_bench.workspace import load_workspace

    chosen, folders = chosen_of(tasks, data, plugins)
    workspace = load_workspace()
    cache = workspace.cache or (results or workspace.results) / "cache"
    check_writable(cache)
    INDEX.use(cache)
    rows: list[dict[str, Any]] = []
    work = []
    for task in chosen:
        cases = cases_of(task, folders)
        faults = faulty_cases(cases, task) if task.needs_data else {}
        sound = [case for case in cases if case.id not in faults]
        missing, size = unprepared(task, sound, cache)
        work.append((task, missing))
        rows.append(
            {
                "name": task.name,
                "cases": len(cases),
                "missing": len(missing),
                "bytes": size,
                "faults": faults,
            }
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
            if missing and not dry_run:
                row["faults"] |= prepare_cases(task, missing, cache, progress.emit, plugins)
            failed |= bool(row["faults"])
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        for row in rows:
            for case, fault in row["faults"].items():
                click.echo(f"error: {row['name']}: {case}: {fault}")
    return int(failed)
