"""A few brain phantoms on a coarse grid, so that minutes are seconds."""

from __future__ import annotations

from pathlib import Path

from medssl_bench import registry
from medssl_bench.registry import Entry
from medssl_bench.task import Case, Intensity, Preprocessing
from medssl_bench.tasks.phantom_brain import (
    PhantomBrainTask,
    phantom_brain_grade,
    phantom_brain_tumor,
)

COARSE = Preprocessing(
    spacing=(6.0, 6.0, 6.0), intensity=Intensity(rule="percentile", low=1.0, high=99.0)
)


class SmallBrainTask(PhantomBrainTask):
    """The first cases of each pool."""

    def cases(self, root: Path | None = None) -> list[Case]:
        cases = super().cases(root)
        train = [case for case in cases if case.pool == "train"]
        test = [case for case in cases if case.pool == "test"]
        return train[:4] + test[:2]


for task, changes in (
    (phantom_brain_tumor, {"name": "brain_small", "preprocessing": COARSE}),
    (phantom_brain_grade, {"name": "grade_small"}),
):
    made = SmallBrainTask(**{**task.model_dump(), "crop": (16, 16, 16), **changes})
    registry.tasks.add(made.name, Entry(made, "for tests"))
