"""What a plan will take: storage from headers, hours from recorded costs of the same kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medssl_bench import registry

if TYPE_CHECKING:
    from medssl_bench.plan import Plan
    from medssl_bench.store import Store
    from medssl_bench.task import Case, Corpus, Task

BYTES_PER_RECORD = 2**20
"""Record, tables and pictures of a cell; generous."""


VOXELS_PER_BYTE = 16
"""Of a compressed label map; 117 organs of a whole body take a byte for 25."""


@dataclass(frozen=True)
class Hours:
    """Estimated wall hours of one process; None where no recorded run can tell."""

    pretraining: float | None
    cells: float | None
    why: str = "--calibrate measures it"
    """What can be done where it is unknown, or why nothing can."""

    @property
    def total(self) -> float | None:
        """Both, or None where either is unknown."""
        if self.pretraining is None or self.cells is None:
            return None
        return self.pretraining + self.cells


class Storage(NamedTuple):
    """Upper bounds in bytes of what the missing part of a plan will take."""

    cache: int
    results: int


def storage_bytes(plan: Plan, cache: Path) -> Storage:
    """Reckon what the plan misses; reads the header of every case that the cache lacks."""
    from medssl_bench.preparation import needed_cases

    volumes = sum(unprepared(owner, cases, cache)[1] for owner, cases in needed_cases(plan))
    starts = [job.backbone for job in plan.missing_starts]
    cells = [c.cell.backbone for c in plan.missing_cells if not c.own_training]
    # A checkpoint holds weights and two moments in float32, twice (the last two are kept).
    trained = [job.backbone for job in plan.missing_pretrainings] + cells
    running = 2 * 3 * 2 * max(map(weight_bytes, trained), default=0)
    kept = sum(map(weight_bytes, starts))
    if plan.settings.keep == "all":
        kept += sum(map(weight_bytes, cells))
    records = len(plan.missing_cells) * BYTES_PER_RECORD
    own = _own_bytes(plan) + _prediction_bytes(plan)
    return Storage(volumes, int(running + kept + records + own))


def _prediction_bytes(plan: Plan) -> int:
    """Bytes of the label maps that the missing cells keep."""
    from medssl_bench.data.regrid import ruling_source

    if not plan.settings.keep_predictions:
        return 0
    need = 0
    for name, count in Counter(planned.cell.task for planned in plan.missing_cells).items():
        found = plan.tasks[name]
        if not found.task.classifies:
            rule = (found.task.preprocessing, found.task.channels)
            tests = [case for case in found.cases if case.pool == "test"]
            need += count * sum(math.prod(ruling_source(c, *rule).header().shape) for c in tests)
    return need // VOXELS_PER_BYTE


def _own_bytes(plan: Plan) -> int:
    """Bytes of what a training of its own keeps while it runs: raw and prepared voxels, weights.

    An upper bound for nnU-Net: 4 bytes raw, 4 prepared and 1 of label at four times the voxels, and
    three checkpoints of 31 M weights with their momentum. One cell of a task after another.
    """
    need = 0
    for planned in plan.missing_cells:
        if planned.own_training:
            found = plan.tasks[planned.cell.task]
            wanted = {*planned.draw.train, *found.ids("test")}
            voxels = sum(
                math.prod(case.images[found.task.channels[0]].header().shape)
                for case in found.cases
                if case.id in wanted
            )
            need = max(need, voxels * len(found.task.channels) * (4 + 4 * 5) + 3 * 8 * 31_000_000)
    return need


def unprepared(owner: Task | Corpus, cases: Sequence[Case], cache: Path) -> tuple[list[Case], int]:
    """Return the cases that the cache lacks, and the most bytes that they will take in it.

    Raises:
        DataError: A header cannot be read.
    """
    from medssl_bench.data.cache import VolumeCache, disk_estimate
    from medssl_bench.preparation import rules

    missing, size, held = [], 0, VolumeCache(cache)
    for case in cases:
        rule, words = rules(owner, case)
        if not held.holds(case, rule, **words):
            headers = [case.images[rule.grid or name].header() for name in words["channels"]]
            size += disk_estimate(headers, rule, labelled=case.label is not None)
            missing.append(case)
    return missing, size


def weight_bytes(backbone: str) -> int:
    """Bytes of a segmentor's weights in float32."""
    return int(4e6 * float(registry.backbones.entry(backbone).info["params_m"]))


def hours(plan: Plan, store: Store) -> Hours:
    """Wall hours from recorded costs of the same backbone, crop, device and precision.

    Cells are alike where they take the same steps, with or without a method's part in fine-tuning,
    and are tested without as many sets of channels. Where nothing is missing, no record is read.
    """
    import warnings

    from medssl_bench.provenance import device_name
    from medssl_bench.stages.missing import patterns

    if not plan.missing_pretrainings and not plan.missing_cells:
        return Hours(0.0, 0.0)
    device = device_name(plan.compute.device)
    same = (device, plan.compute.precision)
    per_cell: dict[tuple[str, str, int, bool, int], list[float]] = {}
    per_step: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged records only make the estimate poorer here
        for record in store.records():
            machine = record.machine
            if (machine.device, machine.precision) == same:
                crop = str(record.settings.get("finetune", {}).get("crop"))  # type: ignore[union-attr]
                own = "own_training" in record.settings
                if own or crop == str(_listed(plan.settings.finetune.crop)):
                    cell = record.cell
                    kind = (cell.backbone, cell.task, record.cost.steps)
                    more = (bool(cell.tuning), len(record.missing))
                    per_cell.setdefault((*kind, *more), []).append(record.cost.wall_hours)
        for info in store.pretrainings():
            machine_info = info["machine"]
            alike = info["backbone"] == plan.settings.backbone
            if alike and (machine_info["device"], machine_info["precision"]) == same:
                crop = info["settings"].get("crop")  # an import has none
                if crop == _listed(plan.settings.pretrain.crop):
                    crops = info["settings"]["steps"] * info["settings"]["batch"]
                    per_step.setdefault(info["method"], []).append(
                        info["cost"]["wall_hours"] / crops
                    )
    pretraining: float | None = 0.0
    for job in plan.missing_pretrainings:
        known = per_step.get(job.method)
        if known is None or pretraining is None:
            pretraining = None
            break
        pretraining += _middle(known) * job.settings.steps * job.settings.batch
    cells: float | None = 0.0
    for planned in plan.missing_cells:
        cell, which = planned.cell, plan.settings.missing_channels
        again = patterns(plan.tasks[cell.task].task.channels, which)
        more = (bool(cell.tuning), 0 if planned.own_training else len(again))
        known = per_cell.get((cell.backbone, cell.task, planned.steps, *more))
        if known is None or cells is None:
            cells = None
            break
        cells += _middle(known)
    return Hours(pretraining, cells)


def _listed(crop: tuple[int, int, int] | None) -> list[int] | None:
    return list(crop) if crop is not None else None


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
