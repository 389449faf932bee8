"""Writes docs/tasks.md from the tasks: `python docs/tasks.py`."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from medssl_bench.task import Task
from medssl_bench.tasks import TASKS, load_task
from medssl_bench.tasks.release import Release

INTRODUCTION = """\
# Tasks

<!-- Written by `python docs/tasks.py` from tasks/; edit those files instead. -->

Point `--data` at what you downloaded, or at the folder above it. `bench data status TASK` says what
is found, [`bench data verify TASK`](cli.md#bench-data) reads all of it, and `bench data synth TASK
--out DIR` writes a tiny tree in the same layout. Your own data: [Add a task](add-a-task.md).
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
    return "\n".join([INTRODUCTION, *rows, "", *sections])


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


def _section(module: str, tasks: list[Task]) -> str:
    """Return what a file of tasks says of itself, and its trees."""
    text = inspect.cleandoc(sys.modules[module].__doc__ or "")
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    title, _, rest = text.partition("\n")
    parts = [f"## {', '.join(f'`{task.name}`' for task in tasks)}\n", title, rest]
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
