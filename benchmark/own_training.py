"""Methods that bring network and training of their own: what they are given, what they hand back.

They share draw, split, test cases and metrics with every other method, and nothing of the common
fine-tuning protocol: their cells have a protocol of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from medssl_bench.method import Method, Requires
from medssl_bench.progress import Emit

if TYPE_CHECKING:
    from medssl_bench.task import Case, Task


@dataclass(frozen=True)
class OwnJob:
    """One cell: the labelled cases to learn from, and the test cases without their labels."""

    title: str
    task: Task
    train: Sequence[Case]
    tests: Sequence[Case]
    config: Mapping[str, Any]
    """The method's settings."""
    seed: int
    device: str
    threads: int
    work: Path
    """Folder of this claim: files at its top are inherited by whoever resumes, folders are not."""
    plugins: tuple[Path, ...] = ()


@dataclass(frozen=True)
class OwnResult:
    """What a method's own training came to."""

    predictions: Mapping[str, Path]
    """Test case -> label map (the task's class ids) on the grid of its first channel's file, or of
    the channel that the task's ``preprocessing.grid`` names."""
    history: list[dict[str, Any]]
    """One row per point: ``step``, ``loss`` and what else there is."""
    weights: str
    """Digest of the weights that predicted, by :func:`medssl_bench.digest.weights_digest`."""
    steps: int
    samples: int
    """Crops trained on."""
    train_seconds: float
    """Of the training steps, resumed sessions included."""
    other_seconds: float
    """Of planning, preparation and inference in the session that finished."""
    resumed: int
    peak_bytes: int | None
    precision: str
    libraries: dict[str, str]
    """Versions of what trained, besides those that every record names."""
    settings: dict[str, Any]
    """What decided the result, as plain data; under ``planned`` what it chose for the data."""


class OwnTraining(Method):
    """A method that is trained on the labelled cases by its own recipe."""

    family = "supervised"
    requires = Requires(trains=False, own_training=True)
    network: ClassVar[str]
    """What stands in the place of the backbone."""

    @classmethod
    def decides(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what decides a result besides task, data and draw, as plain data.

        Raises:
            BenchError: What it needs is not installed.
        """
        raise NotImplementedError

    @classmethod
    def budget(cls, config: Mapping[str, Any]) -> int:
        """Return the optimizer steps of a training."""
        raise NotImplementedError

    @classmethod
    def run(cls, job: OwnJob, emit: Emit, check: Callable[[], None]) -> OwnResult:
        """Train, or go on from what lies in ``job.work``, and predict the test cases.

        ``check`` raises when the claim on this work was lost.

        Raises:
            CaseError: The training or a prediction failed.
        """
        raise NotImplementedError
