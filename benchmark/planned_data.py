"""What is found of the data that a plan names: the cases of a task, the volumes of the corpus."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.config import Settings
from medssl_bench.digest import digest, seed_from
from medssl_bench.draws import check_split, split_digest
from medssl_bench.errors import BenchError
from medssl_bench.survey import Survey
from medssl_bench.validation import check_cases, raise_errors

if TYPE_CHECKING:
    from medssl_bench.data.volume import Source
    from medssl_bench.plan import Request
    from medssl_bench.split_file import SplitFile
    from medssl_bench.task import Case, Corpus, Task


@dataclass(frozen=True)
class PlannedTask:
    """A task with its cases as found."""

    task: Task
    cases: tuple[Case, ...]
    split: str
    data: str
    """Digest of every case's content."""
    source: str
    """Where the split comes from: the task's own rule, or a file."""

    @property
    def truth(self) -> dict[str, int]:
        """Class of each case of a classification task, by case id."""
        return {case.id: case.class_id for case in self.cases if case.class_id is not None}

    def ids(self, pool: str) -> tuple[str, ...]:
        """Ids of the cases of one pool."""
        return tuple(case.id for case in self.cases if case.pool == pool)


@dataclass(frozen=True)
class PlannedCorpus:
    """The corpus with its volumes as found."""

    corpus: Corpus
    cases: tuple[Case, ...]
    digest: str

    @property
    def modalities(self) -> frozenset[str]:
        """Of any of its cases."""
        return frozenset(name for case in self.cases for name in case.images)


def data_folder(name: str, data: Mapping[str, Path]) -> Path | None:
    """Folder of a task or corpus: its own ``--data``, else ``DIR/<name>`` or ``DIR``."""
    if name in data:
        return data[name]
    base = data.get("")
    if base is None:
        return None
    inside = base / name
    return inside if os.path.isdir(inside) else base  # noqa: PTH112 - of a closed folder, False


def find_cases(
    task: Task, data: Mapping[str, Path], splits: Mapping[str, SplitFile]
) -> tuple[tuple[Case, ...], str, list[str]]:
    """List a task's cases on their sides; returns them, the split's source, and notes.

    Raises:
        DataError: No data, or a split that cannot be.
    """
    from medssl_bench.split_file import apply_split, rule_of

    cases, source = tuple(task.cases(data_folder(task.name, data))), rule_of(task)
    notes: list[str] = []
    if task.name in splits:
        source = splits[task.name].source
        check_split(cases, task.name)  # so that ids tell cases apart
        cases, notes = apply_split(task.name, cases, splits[task.name])
    check_split(cases, task.name)
    return cases, source, notes


def find_task(task: Task, request: Request, survey: Survey) -> tuple[PlannedTask, list[str]]:
    """Find a task, or return what was found of the same task and folder before; and notes."""
    split = request.splits.get(task.name)
    what = ("task", digest(task.model_dump(mode="json")), data_folder(task.name, request.data),
            split and split.source)  # fmt: skip
    return survey.once(what, lambda: _look_for_task(task, request.data, request.splits))


def _look_for_task(
    task: Task, data: Mapping[str, Path], splits: Mapping[str, SplitFile]
) -> tuple[PlannedTask, list[str]]:
    cases, source, notes = find_cases(task, data, splits)
    notes += [str(finding) for finding in raise_errors(check_cases(cases, task), task.name)]
    notes += task.absent(data_folder(task.name, data)).values()
    split = split_digest(
        [case.id for case in cases if case.pool == "train"],
        [case.id for case in cases if case.pool == "test"],
    )
    content = data_digest(cases)
    for pool, whole in task.expected.items():
        found = sum(1 for case in cases if case.pool == pool)
        if found < whole and task.name not in splits:
            notes.append(f"{found} of {whole} {pool} cases found; see `bench data status`")
    found_task = PlannedTask(task, cases, split, content, source)
    return found_task, [f"{task.name}: {note}" for note in notes]


def find_corpus(
    settings: Settings, data: Mapping[str, Path], root: Path, survey: Survey
) -> tuple[PlannedCorpus, list[str]]:
    """Find the corpus of the settings; returns it and notes for the user.

    Raises:
        BenchError: None is named, it has too few volumes, or they have errors.
    """
    from medssl_bench.corpus_inventory import corpus_folder
    from medssl_bench.tasks.corpora import load_corpus

    if settings.corpus is None:
        raise BenchError(
            "which corpus? give --corpus NAME or --corpus folder:PATH, or `corpus:` in bench.yaml"
        )
    corpus = survey.once(("corpus", settings.corpus), lambda: load_corpus(str(settings.corpus)))
    folder = corpus_folder(corpus, data)
    found = survey.once(("volumes", settings.corpus, folder), lambda: corpus.cases(folder))
    kept = _without_leaks(found, root) if settings.exclude_leaks else found
    cases = _subset(kept, corpus.name, settings.corpus_size)
    notes = [
        str(note)
        for note in raise_errors(
            survey.check(cases, corpus, (settings.corpus, folder)), corpus.name
        )
    ]
    if corpus.expected is not None and len(found) < corpus.expected:
        notes.append(
            f"{len(found)} of {corpus.expected} cases found; see"
            f" `bench data status corpus:{corpus.name}`"
        )
    several = {
        source.path
        for case in cases
        for source in case.images.values()
        if getattr(source, "series", None) is not None and hasattr(source, "path")
    }
    if several:
        notes.append(
            f"{len(several)} folders hold several DICOM series, each of which is a case:"
            f" {min(several)} for one"
        )
    if len(kept) < len(found):
        notes.append(f"{len(found) - len(kept)} of {len(found)} volumes show test cases: left out")
    content = corpus_digest(corpus, cases)
    return PlannedCorpus(corpus, cases, content), [f"{corpus.name}: {note}" for note in notes]


def data_digest(cases: Iterable[Case]) -> str:
    """Digest what a task's cases hold, and their side of the split."""
    return digest(sorted(_case_digest(case) for case in cases))


def corpus_digest(corpus: Corpus, cases: Iterable[Case]) -> str:
    """Digest what these volumes of a corpus hold and how they are preprocessed."""
    kinds = {name: rule.model_dump(mode="json") for name, rule in corpus.preprocessing.items()}
    return digest([kinds, sorted(_case_digest(case) for case in cases)])


def _without_leaks(cases: Sequence[Case], root: Path) -> list[Case]:
    """Leave out the volumes in which an audit of this results folder found a test case."""
    from medssl_bench.audit.exposure import leaking_volumes
    from medssl_bench.audit.verdicts import volume_digest

    leaking = leaking_volumes(root)
    return [case for case in cases if volume_digest(case) not in leaking]


def _subset(cases: Sequence[Case], corpus: str, size: int | None) -> tuple[Case, ...]:
    """Take ``size`` cases by a ranking that is fixed for the corpus, so subsets are nested.

    In the order of their ids, for sampling counts them and the digest of a corpus has no order.
    """
    if size is not None and size > len(cases):
        raise BenchError(
            f"corpus_size {size}: {corpus} has only {len(cases)} volumes;"
            " `--set corpus_size=null` takes all"
        )
    ranked = sorted(cases, key=lambda case: seed_from(corpus, "subset", case.id))
    return tuple(sorted(ranked[:size], key=lambda case: case.id))


def _case_digest(case: Case) -> str:
    def of(source: Source | None) -> str | None:
        return source.digest() if source is not None else None

    images = {name: of(source) for name, source in case.images.items()}
    truth = of(case.label) if case.class_id is None else f"class {case.class_id}"
    return digest([case.id, case.pool, case.group, images, truth])
