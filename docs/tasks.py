"""Writes docs/tasks.md from the tasks and corpora: `python docs/tasks.py`."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from medssl_bench.task import Corpus, Task
from medssl_bench.tasks import TASKS, load_task
from medssl_bench.tasks.corpora import CORPORA, load_corpus
from medssl_bench.tasks.release import Release

INTRODUCTION = """\
# Tasks and corpora

<!-- Written by `python docs/tasks.py` from tasks/; edit those files instead. -->

Point `--data` at what you downloaded, or at the folder above it. `bench data status TASK` says what
is found, [`bench data verify TASK`](cli.md#bench-data) reads all of it, and `bench data synth TASK
--out DIR` writes a tiny tree in the same layout. Your own data: [Add a task](add-a-task.md).
The sets that methods are pretrained on are [below](#corpora).
"""

CORPORA_TITLE = """\
# Corpora

Scans without labels, for `--corpus NAME`. They find their folder as tasks do: `--data NAME=DIR`, or
`DIR/NAME` below `--data DIR` or `BENCH_DATA`. `bench data status`, `verify`, `prepare`, `show` and
`synth` take their names; where a task has the same one, `corpus:NAME` is the corpus.

Modalities of one exam are one case and are prepared together, on one grid. A method that takes one
channel meets one of them in a step, drawn evenly for each place of a batch. `NAME:MODALITY`
resamples the others of a case onto the grid of one, where they do not share one (`ixi:T1`).
"""


def document() -> str:
    """Return the whole page."""
    tasks = {name: load_task(name) for name in TASKS}
    rows = [
        "| Task | Modality | Channels | Measured | Train / test | Licence |",
        "|---|---|---|---|---|---|",
        *(_row(task) for task in tasks.values()),
    ]
    files: dict[str, list[Task]] = {}
    for name, task in tasks.items():
        files.setdefault(TASKS[name].target.partition(":")[0], []).append(task)
    sections = [_section(module, members) for module, members in files.items()]
    corpora = [load_corpus(name) for name, entry in CORPORA.items() if not entry.argument]
    groups: dict[str, list[Corpus]] = {}
    for corpus in corpora:
        groups.setdefault(CORPORA[corpus.name].target.partition(":")[0], []).append(corpus)
    lists = [_corpora_section(module, members) for module, members in groups.items()]
    listing = [
        "| Corpus | Modalities | Cases | Licence |",
        "|---|---|---|---|",
        *(_corpus_row(corpus) for corpus in corpora),
    ]
    return "\n".join([INTRODUCTION, *rows, "", *sections, CORPORA_TITLE, *listing, "", *lists])


def _row(task: Task) -> str:
    counts = " / ".join(str(task.expected.get(pool, "?")) for pool in ("train", "test"))
    cells = [
        f"`{task.name}`",
        task.modality,
        ", ".join(task.channels) if len(task.channels) > 1 else "1",
        (" or " if task.classifies else ", ").join(task.targets),
        counts if task.expected else "generated" if not task.needs_data else "as found",
        task.licence,
    ]
    return f"| {' | '.join(cells)} |"


def _corpus_row(corpus: Corpus) -> str:
    count = "as found" if corpus.expected is None else str(corpus.expected)
    cells = [
        f"`{corpus.name}`",
        ", ".join(corpus.preprocessing),
        count if corpus.needs_data else "generated",
        corpus.licence,
    ]
    return f"| {' | '.join(cells)} |"


def _corpora_section(module: str, corpora: list[Corpus]) -> str:
    """Return what a file of corpora says of itself, and where and how each is had."""
    parts = _told(module, [corpus.name for corpus in corpora])
    access: dict[tuple[str, str], list[str]] = {}
    for corpus in corpora:
        if corpus.needs_data:
            access.setdefault((corpus.access, corpus.tree()), []).append(corpus.name)
    for (where, tree), names in access.items():
        parts.append(f"\n{', '.join(f'`{name}`' for name in names)}: from {where}.\n")
        parts.append(f"```\n{tree}\n```\n")
    return "\n".join(parts)


def _told(module: str, names: list[str]) -> list[str]:
    """Return a title of names, and what their file says of itself."""
    text = inspect.cleandoc(sys.modules[module].__doc__ or "")
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    title, _, rest = text.partition("\n")
    return [f"## {', '.join(f'`{name}`' for name in names)}\n", title, rest]


def _section(module: str, tasks: list[Task]) -> str:
    """Return what a file of tasks says of itself, and its trees."""
    parts = _told(module, [task.name for task in tasks])
    access = dict.fromkeys(task.access for task in tasks if task.needs_data)
    parts += [f"\nFrom {where}.\n" for where in access if where]
    trees = dict.fromkeys(tree.shown for t in tasks if isinstance(t, Release) for tree in t.trees)
    if not trees:
        trees = dict.fromkeys(task.tree() for task in tasks if task.tree())
    parts += [f"```\n{tree}\n```\n" for tree in trees]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    page = Path(__file__).with_suffix(".md")
    page.write_text(document(), "utf-8")
