"""A plan as arrays of jobs: what runs together, and what has to be done before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medssl_bench.digest import digest
from medssl_bench.slurm.site import Stage

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.slurm.site import Site
    from medssl_bench.task import Case


@dataclass(frozen=True)
class Unit:
    """What is done once: a data set prepared, an encoder made, a cell run."""

    name: str
    """``prepare-<data set>``, ``pretraining-<key>`` or ``cell-<key>``."""
    title: str
    stage: Stage
    needs: tuple[str, ...] = ()
    """Names of units that have to be done before."""
    kind: str = ""
    """What takes as long as this: backbone and method, or backbone, task and shots."""


@dataclass(frozen=True)
class Array:
    """Jobs of one stage that wait for the same units."""

    stage: Stage
    jobs: tuple[tuple[Unit, ...], ...]
    """The units of each job."""
    needs: tuple[str, ...] = ()


def preparation_name(owner: str, cases: Iterable[Case]) -> str:
    """Name the preparation of these very cases of a task or corpus."""
    return f"prepare-{owner}-{digest([case.id for case in cases])[:8]}"


def units_of(plan: Plan, unprepared: Mapping[str, str]) -> list[Unit]:
    """Return the units that a plan misses, what others need first.

    ``unprepared`` maps the tasks and corpora with cases that the cache lacks to the names of their
    preparations.
    """
    corpus = () if plan.corpus is None else (plan.corpus.corpus.name,)
    probe = () if plan.probe is None else (plan.probe.task.name,)
    units = [Unit(name, f"prepare {owner}", "prepare") for owner, name in unprepared.items()]

    def prepared(owners: Iterable[str]) -> Iterator[str]:
        return (unprepared[owner] for owner in owners if owner in unprepared)

    missing = {job.key for job in plan.missing_starts}
    for key, job in plan.starts.items():
        if key in missing:
            needs = tuple(prepared((*corpus, *probe))) if key in plan.pretrainings else ()
            kind = f"{job.backbone} {job.method}"
            units.append(Unit(f"pretraining-{key}", job.title, "pretrain", needs, kind))
    for planned in plan.missing_cells:
        cell = planned.cell
        start = (f"pretraining-{cell.pretraining}",) if cell.pretraining in missing else ()
        needs = (*start, *prepared((cell.task,)))
        kind = f"{cell.backbone} {cell.task} {cell.shots}"
        units.append(Unit(f"cell-{cell.key}", planned.title, "finetune", needs, kind))
    return units


def arrange(
    units: Sequence[Unit], live: Collection[str], site: Site, max_array: int
) -> list[Array]:
    """Share out the units that are not queued or running, by stage and by what they wait for.

    A job has ``cells_per_job`` cells for each of the ``per_gpu`` that share its GPU.
    """
    groups: dict[tuple[Stage, tuple[str, ...]], list[Unit]] = {}
    for unit in units:
        if unit.name not in live:
            groups.setdefault((unit.stage, unit.needs), []).append(unit)
    arrays: list[Array] = []
    for (stage, needs), members in groups.items():
        asked = site.resources(stage)
        size = asked.cells_per_job * asked.per_gpu if stage == "finetune" else 1
        jobs = [tuple(members[i : i + size]) for i in range(0, len(members), size)]
        longest = min(max_array, asked.max_array or max_array)
        for first in range(0, len(jobs), longest):
            arrays.append(Array(stage, tuple(jobs[first : first + longest]), needs))
    return arrays


def waiting_for(array: Array, job_of: Callable[[str], str | None]) -> Array:
    """Return the array with the ids of jobs in place of the units it waits for.

    A needed unit without a job is done by now, for units are looked up before their dependants.
    """
    found = dict.fromkeys(job for name in array.needs if (job := job_of(name)) is not None)
    return replace(array, needs=tuple(found))
