"""A task of four training and two test phantoms, so that the whole pipeline runs in seconds."""

from pathlib import Path

from medssl_bench import registry
from medssl_bench.registry import Entry
from medssl_bench.task import Case
from medssl_bench.tasks.phantom import PhantomTask, phantom_ct


class SmallTask(PhantomTask):
    """The first phantoms of each pool."""

    def cases(self, root: Path | None = None) -> list[Case]:
        cases = super().cases(root)
        train = [case for case in cases if case.pool == "train"]
        test = [case for case in cases if case.pool == "test"]
        return train[:4] + test[:2]


task = SmallTask(**{**phantom_ct.model_dump(), "name": "phantom_small"})
registry.tasks.add("phantom_small", Entry(task, "for tests"))
