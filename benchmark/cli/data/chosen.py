"""The tasks and corpora that a command of ``bench data`` is about, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medssl_bench.task import Case, Corpus, Task


def one_of(
    name: str, data: tuple[str, ...], plugins: tuple[Path, ...]
) -> tuple[Task | Corpus, dict[str, Path]]:
    """Return the one task or corpus that is meant, and where data lies by name."""
    from medssl_bench.errors import BenchError

    chosen, folders = chosen_of((name,), data, plugins)
    if len(chosen) > 1:
        what = "corpora" if name.startswith("corpus:") else "tasks"
        raise BenchError(f"{name}: {len(chosen)} {what}; name one")
    return chosen[0], folders


def chosen_of(
    specs: tuple[str, ...], data: tuple[str, ...], plugins: tuple[Path, ...]
) -> tuple[list[Task | Corpus], dict[str, Path]]:
    """Return the tasks and corpora asked for, and where data lies by name."""
    from medssl_bench import registry
    from medssl_bench.tasks import load_tasks
    from medssl_bench.tasks.corpora import load_corpora
    from medssl_bench.workspace import load_workspace, parse_data

    for plugin in plugins:
        registry.load_plugin(plugin)
    known = registry.corpora.entries().keys() - registry.tasks.entries().keys()
    chosen: list[Task | Corpus] = []
    tasks = []
    for spec in specs:
        if spec.startswith("corpus:"):
            chosen += load_corpora(spec.removeprefix("corpus:"))
        elif spec.partition(":")[0] in known:
            chosen += load_corpora(spec)
        else:
            tasks.append(spec)
    if tasks or not chosen:
        chosen = [*load_tasks(tasks), *chosen]
    registered = {*registry.tasks.entries(), *registry.corpora.entries()}
    names = {*registered, *(owner.name for owner in chosen)}
    return chosen, parse_data(data, load_workspace().data_folders(), names)


def cases_of(owner: Task | Corpus, folders: dict[str, Path]) -> list[Case]:
    """List the cases of a task or corpus below its folder."""
    from medssl_bench.corpus_inventory import corpus_folder
    from medssl_bench.planned_data import data_folder
    from medssl_bench.task import Corpus

    if isinstance(owner, Corpus):
        return owner.cases(corpus_folder(owner, folders))
    return owner.cases(data_folder(owner.name, folders))
