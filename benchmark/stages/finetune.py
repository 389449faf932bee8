"""Fine-tuning: train a segmentor or classifier on a few labelled cases from an encoder."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from medssl_bench import checkpoint, interrupt
from medssl_bench.config import EvaluateSettings, FinetuneSettings
from medssl_bench.data.augmentation import augment
from medssl_bench.data.sampling import (
    ClassifiedCrops,
    LabelledCrops,
    device_bytes,
    keyed_rng,
)
from medssl_bench.digest import seed_from
from medssl_bench.errors import MemoryShortageError
from medssl_bench.history import History
from medssl_bench.networks import build_classifier, build_encoder, build_segmentor
from medssl_bench.networks.channels import load_pretrained
from medssl_bench.progress import Emit, Event
from medssl_bench.stages.classify import mean_log_loss
from medssl_bench.stages.copies import Copies
from medssl_bench.stages.evaluate import mean_working_dice
from medssl_bench.stages.loss import output_channels, supervised_loss
from medssl_bench.task import Task
from medssl_bench.training import (
    Compute,
    LearningRate,
    build_optimizer,
    gradient_norm,
    seed_step,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medssl_bench.data.cache import Prepared
    from medssl_bench.method import Tuning
    from medssl_bench.networks.encoder import Encoder

WORTH_SAVING = 60.0
"""Seconds of training that are saved before the test cases are evaluated."""


@dataclass(frozen=True)
class FinetuneJob:
    """One fine-tuning: task, shots and settings."""

    title: str
    task: Task
    backbone: str
    shots: str
    seed: int
    settings: FinetuneSettings
    evaluation: EvaluateSettings
    select: str
    truth: Mapping[str, int] = field(default_factory=dict)
    """Class of each case, in a classification task."""
    tuning: Tuning | None = None
    """What the method adds to this fine-tuning."""

    @property
    def crop(self) -> tuple[int, int, int]:
        """Crop size in voxels."""
        return self.settings.crop_of(self.task)


@dataclass
class Tuned:
    """A trained network and how it came about."""

    model: torch.nn.Module
    history: list[dict[str, Any]]
    seconds: float
    resumed: int
    steps: int
    samples: int


def build_model(job: FinetuneJob, encoder_state: Mapping[str, Tensor] | None) -> torch.nn.Module:
    """Build the network; its decoder's or head's start depends on the seed alone."""
    torch.manual_seed(seed_from(job.seed, "encoder"))
    encoder = build_encoder(
        job.backbone, in_channels=len(job.task.channels), drop_path=job.settings.drop_path
    )
    if encoder_state is not None:
        load_pretrained(encoder, encoder_state, job.settings.channels)
    torch.manual_seed(seed_from(job.seed, "decoder"))
    if job.task.classifies:
        return build_classifier(encoder, len(job.task.classes))
    channels = output_channels(job.task.kind, len(job.task.classes))
    return build_segmentor(job.backbone, len(job.task.channels), channels, encoder=encoder)


def finetune(
    job: FinetuneJob,
    train: Sequence[Prepared],
    validation: Sequence[Prepared],
    encoder_state: Mapping[str, Tensor] | None,
    compute: Compute,
    work: Path,
    emit: Emit,
    check: Callable[[], None],
    checkpoint_seconds: float,
) -> Tuned:
    """Run or resume one fine-tuning.

    Args:
        job: What to train.
        train: The drawn cases, prepared.
        validation: Held-out cases of the training pool (``select: validation``), else empty.
        encoder_state: The pretrained encoder's weights; None starts from scratch.
        compute: Device, precision and threads.
        work: Folder of this claim's checkpoints.
        emit: Receives progress.
        check: Raises when the claim on this work was lost.
        checkpoint_seconds: Wall time between checkpoints.

    Raises:
        DivergedError: The loss became NaN or infinite.
        MemoryShortageError: The cases do not fit in memory.
        Interrupted: Told to stop; the checkpoint holds everything up to this step.
    """
    settings = job.settings
    fabric = compute.fabric()
    network = build_model(job, encoder_state)
    network.to(memory_format=torch.channels_last_3d)
    encoder = network.get_submodule("encoder")
    optimizer = build_optimizer(
        network,
        settings.lr,
        settings.weight_decay,
        settings.betas,
        slower=None if encoder_state is None else (encoder, settings.pretrained_lr_scale),
    )
    model, optimizer = fabric.setup(network, optimizer)
    steps = settings.budget(job.shots, len(train))
    rate = LearningRate(optimizer, steps, settings.warmup_fraction, settings.min_lr)
    loss_of = supervised_loss(job.task.kind, len(job.task.classes))
    crops = _crops(job, train, _home(train, job.task, fabric.device))
    copies = job.tuning and Copies(job.tuning, cast("Encoder", encoder))

    start, seconds, resumed = 0, 0.0, 0
    history, best = History(steps), _Best(settings.patience)
    saved = checkpoint.load(work)
    if saved is not None:
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        start, seconds, resumed = saved["step"], saved["seconds"], saved["resumed"] + 1
        history = History(steps, saved["history"])
        best.restore(saved["best"])

    began = saved_at = time.monotonic()
    done = start
    for step in range(start, steps):
        if best.exhausted:
            break
        model.train()
        seed_step(seed_from(job.seed, "step", step))
        images, truth, places = crops.batch(step, settings.batch, settings.crops_per_case)
        count = 1
        if copies:
            images, count = copies.joined(images, places, keyed_rng(job.seed, "copies", step))
        rng = keyed_rng(job.seed, "augment", step)
        images, truth = augment(images, truth, settings.augmentation, rng)
        images, truth = images.to(fabric.device), truth.to(fabric.device)
        rate.set(step)
        if copies:
            loss, terms = copies.loss(model, loss_of, images, count, truth)
        else:
            images = images.contiguous(memory_format=torch.channels_last_3d)
            loss = loss_of(model(images), truth)
            terms = {"loss": loss}
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        norm = gradient_norm(network.parameters(), settings.clip_gradient)
        optimizer.step()
        history.add(step, {**terms, "gradient_norm": norm})
        done = step + 1
        if validation and (done % settings.validation_every == 0 or done == steps):
            name, score = _validate(job, model, validation, fabric)
            history.mark(done, **{name: score})
            best.offer(-score if name == "validation_log_loss" else score, done, network)
        now = time.monotonic()
        if history.at_point:
            note = (
                f"{history.latest}, {(done - start) * settings.batch / (now - began):.1f} cases/s"
            )
            emit(Event(job.title, done, steps, note))
        # What comes after the last step takes its time too, and may be cut short.
        due = now - saved_at > min(checkpoint_seconds, WORTH_SAVING if done == steps else math.inf)
        if due or interrupt.told():
            check()
            checkpoint.save(
                work,
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": done,
                    "seconds": seconds + now - began,
                    "resumed": resumed,
                    "history": history.state(),
                    "best": best.state(),
                },
            )
            saved_at = now
            if interrupt.told():
                raise interrupt.Interrupted(f"{job.title} stopped after step {done}")
    check()
    if best.weights is not None:
        network.load_state_dict(best.weights)
    total = seconds + time.monotonic() - began
    samples = done * settings.batch * settings.crops_per_case
    return Tuned(model, history.points, total, resumed, done, samples)


def _crops(
    job: FinetuneJob, train: Sequence[Prepared], home: torch.device
) -> LabelledCrops | ClassifiedCrops:
    if job.task.classifies:
        return ClassifiedCrops(train, job.truth, job.crop, job.seed, job.task.balanced, home)
    clear = job.task.kind == "tumour"
    return LabelledCrops(train, job.crop, job.seed, job.settings.positive_share, home, clear=clear)


def _validate(
    job: FinetuneJob, model: torch.nn.Module, cases: Sequence[Prepared], fabric: Fabric
) -> tuple[str, float]:
    """Return the name and value of the score of held-out cases."""
    if job.task.classifies:
        return "validation_log_loss", mean_log_loss(model, cases, job.truth, job.task, fabric)
    score = mean_working_dice(model, cases, job.task, job.crop, job.evaluation, fabric)
    return "validation_dice", score


def _home(cases: Sequence[Prepared], task: Task, device: torch.device) -> torch.device:
    """Where the labelled volumes live: the device if a quarter of its free memory holds them."""
    need = device_bytes(cases, len(task.channels))
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if need < free / 4:
            return device
    from medssl_bench.provenance import available_memory

    free = available_memory()
    if need > 0.8 * free:
        raise MemoryShortageError(
            f"{task.name}: {len(cases)} training cases need {need / 2**30:.1f} GiB of memory,"
            f" {free / 2**30:.1f} GiB are free; use fewer shots or a coarser spacing"
        )
    return torch.device("cpu")


class _Best:
    """The best validation round so far, and whether patience has run out."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.score: float | None = None
        self.rounds_since = 0
        self.weights: dict[str, Tensor] | None = None

    def offer(self, score: float, step: int, network: torch.nn.Module) -> None:
        """Take one round's score; keeps the weights when it is the best."""
        if self.score is None or score > self.score:
            self.score, self.rounds_since = score, 0
            self.weights = copy.deepcopy(network.state_dict())
        else:
            self.rounds_since += 1

    @property
    def exhausted(self) -> bool:
        """True after ``patience`` rounds without improvement."""
        return self.rounds_since >= self.patience

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "score": self.score,
            "rounds_since": self.rounds_since,
            "weights": self.weights,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.score, self.rounds_since = state["score"], state["rounds_since"]
        self.weights = state["weights"]
