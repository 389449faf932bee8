"""``bench data audit``: which test cases a corpus shows under other names."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medssl_bench.cli.data.chosen import chosen_of

if TYPE_CHECKING:
    from medssl_bench.audit.comparison import Audit
    from medssl_bench.task import Case, Corpus

EPILOG = """\b
Examples:
  bench data audit amos_ct lits kits --data /datasets --corpus folder:/scans/unlabelled
  bench data audit kits --data /kits            (its own training cases alone)
  bench data audit my_task.yaml --corpus folder:/scans --json

\b
Exit codes: 0 no leak, 1 leaks, or cases that cannot be read, 2 wrong usage.
"""
SHOWN = 20


@click.command("audit", epilog=EPILOG, short_help="Look for test cases in corpus and training.")
@click.argument("tasks", nargs=-1, metavar="TASK...", required=True)
@click.option("--data", multiple=True, metavar="DIR|NAME=DIR", help="Where the data lies")
@click.option("--corpus", "corpora", multiple=True, help="NAME or folder:PATH[,PATH]; repeatable")
@click.option(
    "--split",
    "files",
    multiple=True,
    metavar="[TASK=]FILE[,FILE]",
    help="Lists in place of the task's rule",
)
@click.option(
    "--mapping",
    "mappings",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A CSV that names volumes of the corpora and test cases in one row",
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for a PNG of each pair, test case above, volume below",
)
@click.option(
    "--results", type=click.Path(path_type=Path), help="Where the audit is kept [bench-results]"
)
@click.option("--json", "as_json", is_flag=True, help="A list of objects with `task`")
@click.option("--plain", is_flag=True, default=None, help="Plain progress lines, no bars")
@click.option(
    "--plugin", "plugins", multiple=True, type=click.Path(path_type=Path),
    help="A Python file that registers tasks or corpora",
)  # fmt: skip
def command(
    tasks: tuple[str, ...],
    data: tuple[str, ...],
    corpora: tuple[str, ...],
    files: tuple[str, ...],
    mappings: tuple[Path, ...],
    pictures: Path | None,
    results: Path | None,
    as_json: bool,
    plain: bool | None,
    plugins: tuple[Path, ...],
) -> int:
    """Look for the test cases of each TASK in the corpora and among its own training cases.

    Scans are compared by what they show, not by name or header: a scan is found again resampled,
    cropped, flipped, with other intensities or in another format. Runs show what was found before
    they start, records keep it, and --exclude-leaks leaves those volumes out. Fingerprints are
    kept in the cache, so a second audit reads no scan again.
    """
    from medssl_bench.audit.comparison import audit, fingerprint_cases
    from medssl_bench.audit.overlaps import find_tables
    from medssl_bench.audit.verdicts import add_to_verdict
    from medssl_bench.corpus_inventory import corpus_folder
    from medssl_bench.data.digest_index import INDEX
    from medssl_bench.errors import BenchError
    from medssl_bench.planned_data import corpus_digest, find_cases
    from medssl_bench.progress import Progress
    from medssl_bench.split_file import parse_splits
    from medssl_bench.task import Corpus
    from medssl_bench.tasks.corpora import load_corpus
    from medssl_bench.validation import check_writable
    from medssl_bench.workspace import load_workspace

    chosen, folders = chosen_of(tasks, data, plugins)
    workspace = load_workspace()
    root = results or workspace.results
    cache = workspace.cache or root / "cache"
    for folder in (root, cache, *([pictures] if pictures else [])):
        check_writable(folder)
    INDEX.use(cache)
    splits = parse_splits(files, [owner.name for owner in chosen])
    every: dict[str, tuple[Case, ...]] = {}
    for task in chosen:
        if isinstance(task, Corpus):
            raise BenchError(f"{task.name}: a corpus has no test cases; name it by --corpus")
        every[task.name] = tuple(find_cases(task, folders, splits)[0])
    loaded: dict[str, Corpus] = {}
    for corpus in map(load_corpus, dict.fromkeys(corpora)):
        if loaded.setdefault(corpus.name, corpus) is not corpus:
            raise BenchError(
                f"--corpus: two of them are called {corpus.name}; audit one after the other"
            )
    places = {name: corpus_folder(corpus, folders) for name, corpus in loaded.items()}
    volumes = {name: tuple(corpus.cases(places[name])) for name, corpus in loaded.items()}
    audits = []
    with Progress(plain, quiet=as_json) as progress:
        sides = {
            name: fingerprint_cases(
                cases, cache, f"fingerprint {name}", progress.emit, plugins
            )
            for name, cases in volumes.items()
        }  # fmt: skip
        tables = {
            name: [*mappings, *find_tables(_folders(corpus, places[name]))]
            for name, corpus in loaded.items()
        }
        digests = {
            name: corpus_digest(loaded[name], volumes[name])
            for name, (_, faults) in sides.items()
            if not faults
        }
        for name, cases in every.items():
            found = audit(name, cases, sides, tables, digests, cache, progress.emit, plugins)
            add_to_verdict(root, found.verdict)
            audits.append(found)
    if pictures is not None:
        from medssl_bench.audit.pictures import draw_pairs

        for found in audits:
            named = {"train": every[found.verdict.task], **volumes}
            draw_pairs(found.leaks, every[found.verdict.task], named, pictures)
    if as_json:
        click.echo(json.dumps([_json(found) for found in audits], indent=1))
    else:
        for found in audits:
            tested = sum(1 for case in every[found.verdict.task] if case.pool == "test")
            against = [f"{len(cases)} volumes of {name}" for name, cases in volumes.items()]
            click.echo(_text(found, tested, against))
    return int(any(found.leaks or any(found.faults.values()) for found in audits))


def _folders(corpus: Corpus, place: Path | None) -> list[Path]:
    """Return where a corpus's scans lie, and so its publisher's tables."""
    own: tuple[Path, ...] = getattr(corpus, "folders", ())
    return [*own] or ([place] if place is not None and corpus.needs_data else [])


def _json(found: Audit) -> dict[str, Any]:
    return {
        "task": found.verdict.task,
        "leaks": [asdict(leak) for leak in found.leaks],
        "unreadable": {side: dict(faults) for side, faults in found.faults.items() if faults},
        "too_little_to_tell": {side: list(cases) for side, cases in found.untold.items()},
    }


def _text(found: Audit, tested: int, against: list[str]) -> str:
    """Sum up an audit: how many test cases were found, then one line for each pair."""
    cases = {leak.case for leak in found.leaks}
    where = " and ".join(["its training cases", *against])
    lines = [
        f"{found.verdict.task}: {len(cases) or 'none'} of {tested} test cases found among {where}"
    ]
    lines += [f"  leak: {leak}" for leak in found.leaks[:SHOWN]]
    if len(found.leaks) > SHOWN:
        lines.append(f"  and {len(found.leaks) - SHOWN} more; --json has them all")
    for side, faults in found.faults.items():
        lines += [f"  not looked at: {side}: {fault}" for fault in faults.values()]
    for side, vague in found.untold.items():
        more = f" and {len(vague) - SHOWN} more" if len(vague) > SHOWN else ""
        lines.append(
            f"  not checked: {side}: too little in them to be told from others, but by equal"
            f" content: {', '.join(vague[:SHOWN])}{more}"
        )
    return "\n".join(lines)
