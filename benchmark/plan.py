"""The grid that was asked for -> cells -> what must run, validated before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench import registry
from medssl_bench.config import Settings
from medssl_bench.draws import Shots
from medssl_bench.errors import BenchError, UnsuitedError
from medssl_bench.keys import pretrain_job
from medssl_bench.plan_checks import (
    check_coarsest,
    check_crops,
    check_method_settings,
    check_probed,
)
from medssl_bench.planned_cells import PlannedCell, is_own_training, plan_cells
from medssl_bench.planned_data import PlannedCorpus, PlannedTask, find_corpus, find_task
from medssl_bench.survey import Survey

if TYPE_CHECKING:
    from medssl_bench.audit.exposure import Exposure
    from medssl_bench.imports import ImportJob
    from medssl_bench.split_file import SplitFile
    from medssl_bench.stages.pretrain import PretrainJob
    from medssl_bench.store import Store
    from medssl_bench.training import Compute


@dataclass(frozen=True)
class Request:
    """What the user asked for, as given."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    shots: tuple[str, ...]
    settings: Settings
    data: Mapping[str, Path] = field(default_factory=dict)
    """Name of a task or corpus -> folder; the empty name is the default folder."""
    splits: Mapping[str, SplitFile] = field(default_factory=dict)
    """Task name -> the file that takes the place of its own rule."""
    plugins: tuple[Path, ...] = ()
    device: str = "auto"

    @property
    def pretrains_only(self) -> bool:
        """Whether no task was asked for."""
        return not self.tasks


@dataclass(frozen=True)
class Plan:
    """Everything a worker needs; it can be pickled."""

    request: Request
    compute: Compute
    tasks: Mapping[str, PlannedTask]
    corpus: PlannedCorpus | None
    pretrainings: Mapping[str, PretrainJob]
    """By key; every one that a planned cell needs, recorded or not."""
    cells: tuple[PlannedCell, ...]
    recorded: frozenset[str]
    """Keys of cells that are already recorded."""
    pretrained: frozenset[str]
    """Keys of pretrainings and imports that are already recorded."""
    warnings: tuple[str, ...]
    probe: PlannedTask | None = None
    """What pretraining is followed by (``pretrain.probe``); only its training cases are used."""
    imports: Mapping[str, ImportJob] = field(default_factory=dict)
    """Encoders taken from files in place of pretraining, by key."""
    exposures: Mapping[str, Exposure] = field(default_factory=dict)
    """Task -> what of its test set the corpus shows; empty where nothing is pretrained."""

    @property
    def settings(self) -> Settings:
        """The settings of the request."""
        return self.request.settings

    @property
    def missing_cells(self) -> list[PlannedCell]:
        """Cells that must run."""
        return [cell for cell in self.cells if cell.cell.key not in self.recorded]

    @property
    def missing_pretrainings(self) -> list[PretrainJob]:
        """Pretrainings that must run before them."""
        return [job for key, job in self.pretrainings.items() if self._misses(key)]

    @property
    def missing_imports(self) -> list[ImportJob]:
        """Files that must be read before them."""
        return [job for key, job in self.imports.items() if self._misses(key)]

    @property
    def starts(self) -> dict[str, PretrainJob | ImportJob]:
        """What makes the encoders that cells start from, by key."""
        return {**self.imports, **self.pretrainings}

    @property
    def missing_starts(self) -> list[PretrainJob | ImportJob]:
        """All that must be made before the missing cells."""
        return [*self.missing_imports, *self.missing_pretrainings]

    def as_recorded(self, store: Store) -> Plan:
        """Return the plan with what is recorded by now."""
        return replace(
            self,
            recorded=frozenset(c.cell.key for c in self.cells if store.has(c.cell)),
            pretrained=frozenset(key for key in self.starts if store.has_pretraining(key)),
        )

    def only_starts(self, keys: Collection[str]) -> Plan:
        """Return what makes these encoders, without any cell."""
        return replace(
            self,
            request=replace(self.request, tasks=()),
            cells=(),
            pretrainings={key: job for key, job in self.pretrainings.items() if key in keys},
            imports={key: job for key, job in self.imports.items() if key in keys},
            pretrained=frozenset(),
        )

    def only_cells(self, keys: Collection[str]) -> Plan:
        """Return these cells alone; the encoders they start from have to be recorded by then."""
        cells = tuple(planned for planned in self.cells if planned.cell.key in keys)
        tasks = {planned.cell.task for planned in cells}
        needs = {planned.cell.pretraining for planned in cells}
        return replace(
            self,
            cells=cells,
            recorded=frozenset(),
            pretrainings={key: job for key, job in self.pretrainings.items() if key in needs},
            imports={key: job for key, job in self.imports.items() if key in needs},
            pretrained=frozenset(needs & self.starts.keys()),
            tasks={name: found for name, found in self.tasks.items() if name in tasks},
        )

    def _misses(self, pretraining: str) -> bool:
        wanted = {planned.cell.pretraining for planned in self.missing_cells}
        asked = self.request.pretrains_only or pretraining in wanted
        return asked and pretraining not in self.pretrained


def build_plan(
    request: Request, compute: Compute, store: Store, survey: Survey | None = None
) -> Plan:
    """Validate names, data, headers, splits and shots; list the cells and what they need.

    Plans that are made with one ``survey`` read the data they have in common once.

    Raises:
        BenchError: Anything is wrong; nothing was started.
    """
    from medssl_bench.imports import find_sources, plan_import
    from medssl_bench.tasks import load_tasks

    survey = survey or Survey()
    methods = _names(registry.methods, request.methods)
    check_method_settings(request.settings)
    methods, warnings = _without_corpus(methods, request)
    methods, sources, notes = find_sources(methods, request)
    warnings += notes
    tasks = [] if request.pretrains_only else load_tasks(request.tasks)
    shots = tuple(dict.fromkeys(Shots.parse(text).text for text in request.shots))
    if not shots:
        raise BenchError("no shots given; write a number of cases (5), a share (20%) or full")
    trained = [name for name in methods if _trains(name)]
    shared = [name for name in methods if not is_own_training(name)]
    if shared:
        check_crops(request.settings, tasks, pretrains=bool(trained))
    for source in sources.values():
        check_crops(request.settings, tasks, pretrains=False, own=source.backbone)
    planned: dict[str, PlannedTask] = {}
    for task in tasks:
        planned[task.name], notes = find_task(task, request, survey)
        warnings += [*notes, *_trained_on_tests(planned[task.name], store.root)]
    corpus = None
    if trained:
        corpus, notes = find_corpus(request.settings, request.data, store.root, survey)
        warnings += notes
    jobs: dict[str, PretrainJob] = {}
    for name in trained:
        assert corpus is not None
        try:
            jobs[name] = pretrain_job(name, request.settings, corpus, compute)
        except UnsuitedError as error:
            if name in request.methods:
                raise
            warnings.append(f"left out: {error}")
            methods.remove(name)
    imports: dict[str, ImportJob] = {}
    for name, source in sources.items():
        imports[name], notes = plan_import(name, source, store)
        warnings += notes
    starts: dict[str, PretrainJob | ImportJob] = {**jobs, **imports}
    probe = _find_probe(request, survey) if jobs else None
    if probe is not None:
        warnings += _not_probed(jobs.values(), store)
    cells = plan_cells(methods, starts, planned, shots, request.settings, compute, corpus)
    for backbone in dict.fromkeys(c.cell.backbone for c in cells if not c.own_training):
        check_coarsest(request.settings, tasks, backbone)
    return Plan(
        request=request,
        compute=compute,
        tasks=planned,
        corpus=corpus,
        pretrainings={job.key: job for job in jobs.values()},
        cells=tuple(cells),
        recorded=store.recorded(planned.cell for planned in cells),
        pretrained=frozenset(job.key for job in starts.values() if store.has_pretraining(job.key)),
        warnings=tuple(warnings),
        imports={job.key: job for job in imports.values()},
        probe=probe,
        exposures=_exposures(planned, corpus, request.settings, store.root) if corpus else {},
    )


def _trained_on_tests(found: PlannedTask, root: Path) -> list[str]:
    """Name the test cases that an audit found among the task's own training cases."""
    from medssl_bench.audit.verdicts import TRAIN, read_verdict, tests_digest

    verdict = read_verdict(root, found.task.name, tests_digest(found.cases))
    training = set(found.ids("train"))
    leaks = [leak for leaks in verdict.leaks.values() for leak in leaks]
    return [
        f"{found.task.name}: {leak}; split by patient, or leave one of them out"
        for leak in leaks
        if leak.source == TRAIN and leak.volume in training
    ]


def _exposures(
    tasks: Mapping[str, PlannedTask], corpus: PlannedCorpus, settings: Settings, root: Path
) -> dict[str, Exposure]:
    """Look up what of each test set the corpus shows.

    Raises:
        BenchError: Leaks are to be excluded, and nobody has looked for them.
    """
    from medssl_bench.audit.exposure import exposure

    found = {
        name: exposure(root, task.task, task.cases, corpus.corpus, corpus.cases)
        for name, task in tasks.items()
    }
    unchecked = [name for name, task in found.items() if not task.checked]
    if settings.exclude_leaks and unchecked:
        raise BenchError(
            f"exclude_leaks: nobody has looked for the test cases of {', '.join(unchecked)} in"
            f" {corpus.corpus.name}; run `bench data audit {' '.join(unchecked)}"
            f" --corpus {settings.corpus}` first, and take away what it says is not checked"
        )
    return found


def _find_probe(request: Request, survey: Survey) -> PlannedTask | None:
    """Find the training cases of ``pretrain.probe``."""
    from medssl_bench.tasks import load_tasks

    if request.settings.pretrain.probe is None:
        return None
    (task,) = load_tasks((request.settings.pretrain.probe,))
    check_probed("pretrain.probe", task)
    found, _ = find_task(task, request, survey)
    return replace(found, cases=tuple(case for case in found.cases if case.pool == "train"))


def _not_probed(jobs: Iterable[PretrainJob], store: Store) -> list[str]:
    """Name the pretrainings that a probe was asked for and that are recorded without one."""
    return [
        f"{job.method} is recorded without a probe and is not run again for it: a probe decides no"
        " weights"
        for job in jobs
        if store.has_pretraining(job.key)
        and "probe_knn_auc" not in store.read_pretraining_history(job.key)
    ]


def _names(known: registry.Registry, patterns: Sequence[str]) -> list[str]:
    names = dict.fromkeys(name for pattern in patterns for name in known.match(pattern))
    if not names:
        raise BenchError(f"no {registry.PLURALS[known.kind]} given")
    return list(names)


def _without_corpus(methods: list[str], request: Request) -> tuple[list[str], list[str]]:
    """Replace methods by scratch where the corpus has no scans; also checks a plan without tasks.

    Returns the methods and notes for the user.
    """
    trained = [name for name in methods if _trains(name)]
    if request.settings.corpus_size == 0 and trained:
        if request.pretrains_only:
            raise BenchError("corpus_size 0: there is nothing to pretrain on")
        names = dict.fromkeys("scratch" if name in trained else name for name in methods)
        return list(names), [f"with a corpus of 0 scans these run as scratch: {', '.join(trained)}"]
    from_files = any(registry.methods.load(name).requires.file for name in methods)
    if request.pretrains_only and not trained and not from_files:
        raise BenchError(f"nothing to pretrain: no pretext task among {', '.join(methods)}")
    return methods, []


def _trains(method: str) -> bool:
    return bool(registry.methods.load(method).requires.trains)
