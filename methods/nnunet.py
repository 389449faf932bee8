"""nnU-Net, the rival that users would pick instead: trained by nnunetv2 itself."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from medssl_bench.durable import write_durably
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.method import Batch, Losses, Method
from medssl_bench.nnunet_dataset import ENDING, description, write_case
from medssl_bench.own_training import OwnJob, OwnResult, OwnTraining
from medssl_bench.parallel import in_processes, workers_for
from medssl_bench.progress import Emit, Event

if TYPE_CHECKING:
    from medssl_bench.task import Case, Task

DATASET = "Dataset001_cell"
CONFIGURATION = "3d_fullres"
CHILD = "medssl_bench.methods.parts.nnunet_child"


class NNUNet(OwnTraining):
    """nnunetv2's own default configuration, ``3d_fullres`` by ``nnUNetTrainer``, with its own plan.

    It shares draw, split, test cases and metrics with every other method, and nothing else:
    spacing, intensities, crop, batch, network, loss, augmentation, learning rate and inference
    (mirroring included) are what nnunetv2 chooses. So it has a protocol of its own, no gain over
    ``scratch`` is computed for it, and ``all`` does not bring it along: name it.

    The raw dataset holds the labelled cases of the draw and nothing else, so that the plan is made
    from no other case. Fold ``all`` trains on each of them: nnU-Net's pseudo validation then looks
    at training cases, which decides nothing, for the last weights predict. Holding out a fold would
    take labelled cases away that the other methods have. nnunetv2 picks crops and augmentation
    unseeded in several processes, so that its runs are not repeatable bit by bit; the seed decides
    the first weights, and on a CPU the rest too.
    """

    reference = "Isensee et al., nnU-Net, Nature Methods 18, 2021 (arXiv:1904.08128)"
    version = 1
    network: ClassVar[str] = f"nnunet_{CONFIGURATION}"

    @dataclass(frozen=True)
    class Config(Method.Config):
        """The length of its training; all else is nnunetv2's default."""

        epochs: int = 1000
        """nnU-Net's epochs; its learning rate falls over them."""
        iterations: int = 250
        """Optimizer steps of an epoch. A fifth as many batches are looked at after each, as by
        default."""

        def __post_init__(self) -> None:
            """Refuse a training without a step."""
            if self.epochs < 1 or self.iterations < 1:
                raise ValueError("epochs and iterations are at least 1")

    def forward(self, batch: Batch) -> Losses:
        """Refuse: raises BenchError, for there is no pretext task."""
        raise BenchError("nnunet: there is nothing to pretrain; it is trained on labelled cases")

    @classmethod
    def decides(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings, configuration and the version of nnunetv2, whose defaults it takes."""
        try:
            installed = importlib.metadata.version("nnunetv2")
        except importlib.metadata.PackageNotFoundError:
            raise BenchError(
                "nnunet needs nnunetv2, which is not installed; pip install 'medssl-bench[nnunet]'"
            ) from None
        return {
            **config,
            "configuration": CONFIGURATION,
            "trainer": "nnUNetTrainer",
            "fold": "all",
            "nnunetv2": installed,
        }

    @classmethod
    def budget(cls, config: Mapping[str, Any]) -> int:
        """Return the optimizer steps of a training."""
        return int(config["epochs"]) * int(config["iterations"])

    @classmethod
    def run(cls, job: OwnJob, emit: Emit, check: Callable[[], None]) -> OwnResult:
        """Write the raw dataset, have nnunetv2 plan, train and predict in a child process."""
        folder = job.work / "nnunet"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            names = write_dataset(job.task, job.train, job.tests, folder, emit, job)
            order = ChildOrder(
                epochs=int(job.config["epochs"]),
                iterations=int(job.config["iterations"]),
                seed=job.seed,
                device=job.device,
                threads=job.threads,
                checkpoint=str(job.work / "nnunet-checkpoint.pth"),
            )
            told = _train(order, folder, job.title, len(job.tests), emit, check)
            return _result(cls, job, told, folder, names)
        except BaseException:
            # The checkpoint stays; the rest is quickly made again and large.
            shutil.rmtree(folder, ignore_errors=True)
            raise


@dataclass(frozen=True)
class ChildOrder:
    """What the child process is told, as ``order.json``."""

    epochs: int
    iterations: int
    seed: int
    device: str
    threads: int
    checkpoint: str
    """File that outlives the child's folder."""


def write_dataset(
    task: Task,
    train: Sequence[Case],
    tests: Sequence[Case],
    folder: Path,
    emit: Emit,
    job: OwnJob,
) -> dict[str, str]:
    """Write the raw dataset of a cell; returns test case -> its name there.

    Cases are numbered, for their own names might confuse nnU-Net. Labels of test cases are not
    written.
    """
    raw = folder / "raw" / DATASET
    for name in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (raw / name).mkdir(parents=True)
    named = [
        *(replace(case, id=f"train_{n:04d}", pool="train") for n, case in enumerate(train)),
        *(
            replace(case, id=f"test_{n:04d}", pool="test", label=None)
            for n, case in enumerate(tests)
        ),
    ]
    write = partial(write_case, task=task, folder=raw)
    workers = workers_for(len(named))
    for done, _ in enumerate(in_processes(write, named, workers, job.plugins, job.title), start=1):
        emit(Event(job.title, done, len(named), "writing nnU-Net's dataset"))
    told = description(task, [case for case in named if case.pool == "train"])
    # It takes any affine; nnU-Net looks at voxel sizes alone.
    told["overwrite_image_reader_writer"] = "NibabelIO"
    write_durably(raw / "dataset.json", json.dumps(told, indent=1).encode())
    return {case.id: f"test_{n:04d}" for n, case in enumerate(tests)}


def _train(
    order: ChildOrder, folder: Path, title: str, tests: int, emit: Emit, check: Callable[[], None]
) -> dict[str, Any]:
    """Run the child and follow it; returns what it wrote to ``outcome.json``.

    ``tests``: how many cases it is to predict.

    Raises:
        CaseError: It failed; with the last line that it said.
    """
    write_durably(folder / "order.json", json.dumps(asdict(order)).encode())
    steps = order.epochs * order.iterations
    child = subprocess.Popen(
        [sys.executable, "-m", CHILD, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(order, folder),
    )
    assert child.stdout is not None
    try:
        for line in child.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "epoch":
                done, _, loss = rest.partition(" ")
                note = f"epoch {done} of {order.epochs}, loss {loss}"
                emit(Event(title, int(done) * order.iterations, steps, note))
            elif word == "predicted":
                emit(Event(title, int(rest), tests, "nnU-Net: predicting"))
            elif word == "stage":
                emit(Event(title, note=f"nnU-Net: {rest}"))
            check()
        code = child.wait()
    finally:
        child.kill()
        child.wait()
    if code:
        raise CaseError(f"nnunetv2 failed: {_last_words(folder, code)}")
    found: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return found


def _environment(order: ChildOrder, folder: Path) -> dict[str, str]:
    """Return the child's environment: nnU-Net's folders and processes, nothing that calls home."""
    calls_home = "nnUNet_wandb"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(calls_home)}
    processes = str(max(1, order.threads))
    return {
        **kept,
        **{f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")},
        "nnUNet_def_n_proc": processes,
        "nnUNet_n_proc_DA": str(min(12, max(1, order.threads))),
        "OMP_NUM_THREADS": processes if order.device == "cpu" else "1",
        "PYTHONWARNINGS": "ignore",
    }


def _last_words(folder: Path, code: int) -> str:
    lines: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        text = (folder / "nnunet.log").read_text("utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {code}"


def _result(
    cls: type[NNUNet],
    job: OwnJob,
    told: Mapping[str, Any],
    folder: Path,
    names: Mapping[str, str],
) -> OwnResult:
    predictions = {case: folder / "predictions" / f"{name}{ENDING}" for case, name in names.items()}
    for case, path in predictions.items():
        if not path.is_file():
            raise CaseError(f"nnunetv2 wrote no prediction of {case}; see its log in {folder}")
    return OwnResult(
        predictions=predictions,
        history=told["history"],
        weights=told["weights"],
        steps=cls.budget(job.config),
        samples=cls.budget(job.config) * int(told["batch"]),
        train_seconds=told["train_seconds"],
        other_seconds=told["other_seconds"],
        resumed=told["resumed"],
        peak_bytes=told["peak_bytes"],
        precision="16-mixed" if job.device == "cuda" else "32-true",
        libraries={"nnunetv2": str(cls.decides(job.config)["nnunetv2"])},
        settings={**cls.decides(job.config), "planned": told["plan"]},
    )
