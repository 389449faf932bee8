"""Whether a plan that was made earlier still means what it meant: the same code, data and tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medssl_bench import registry
from medssl_bench.errors import BenchError
from medssl_bench.keys import (
    method_config,
    own_protocol_digest,
    pretrain_job,
    protocol_digest,
)
from medssl_bench.planned_data import corpus_digest, data_digest
from medssl_bench.tasks import load_tasks

if TYPE_CHECKING:
    from medssl_bench.plan import Plan


def check_fresh(plan: Plan) -> None:
    """Refuse a plan whose missing work would not be what its keys say.

    Versions of parts, task files and contents of scans are looked at again; scans that keep size
    and time are not read again.

    Raises:
        BenchError: Something changed since it was planned; says what.
    """
    if changes := list(dict.fromkeys(_changes(plan))):
        raise BenchError(f"changed since it was planned: {'; '.join(changes)}; plan and run again")


def _changes(plan: Plan) -> Iterator[str]:
    wanted = {planned.cell.task for planned in plan.missing_cells}
    now = {task.name: task for task in load_tasks(plan.request.tasks)} if wanted else {}
    for name in wanted:
        found = plan.tasks[name]
        if name in now and now[name].model_dump() != found.task.model_dump():
            yield f"task {name}"
        if data_digest(found.cases) != found.data:
            yield f"data of {name}"
    for planned in plan.missing_cells:
        cell, found = planned.cell, plan.tasks[planned.cell.task]
        if planned.own_training:
            kind = registry.methods.load(cell.method)
            config = method_config(cell.method, plan.settings.methods.get(cell.method, {}))
            protocol = own_protocol_digest(found, plan.settings, kind.decides(config), kind.version)
        else:
            protocol = protocol_digest(found, plan.settings, plan.compute.precision, cell.backbone)
        if protocol != cell.protocol:
            yield f"the version of a part of {cell.method} on {cell.task}"
    corpus = plan.corpus
    if corpus is None or not plan.missing_pretrainings:
        return
    content = corpus_digest(corpus.corpus, corpus.cases)
    if content != corpus.digest:
        yield f"scans of {corpus.corpus.name}"
    for job in plan.missing_pretrainings:
        if pretrain_job(job.method, plan.settings, corpus, plan.compute).key != job.key:
            yield f"the version of a part of {job.method}"
