"""Pretraining: train one method's encoder on a corpus without labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medssl_bench import checkpoint, registry
from medssl_bench.config import PretrainSettings
from medssl_bench.data.sampling import UnlabelledCrops
from medssl_bench.digest import seed_from
from medssl_bench.history import History
from medssl_bench.method import Batch, Method, Progress
from medssl_bench.networks import build_encoder
from medssl_bench.progress import Emit, Event
from medssl_bench.training import (
    Compute,
    LearningRate,
    build_optimizer,
    gradient_norm,
    seed_step,
)

if TYPE_CHECKING:
    from medssl_bench.data.cache import Prepared


@dataclass(frozen=True)
class PretrainJob:
    """One pretraining: everything that decides its weights."""

    key: str
    method: str
    config: dict[str, Any]
    backbone: str
    corpus: str
    corpus_digest: str
    settings: PretrainSettings
    seed: int
    versions: dict[str, Any]

    @property
    def title(self) -> str:
        """How progress lines call it."""
        return f"pretrain {self.method} on {self.corpus}"


@dataclass
class Outcome:
    """What a pretraining hands on."""

    state: dict[str, Tensor]
    history: list[dict[str, Any]]
    seconds: float
    resumed: int
    samples: int
    """Crops seen: each view of a scan is one."""


def build_method(job: PretrainJob) -> Method:
    """Build the method around a fresh encoder; all methods of a seed start from equal encoders."""
    kind: type[Method] = registry.methods.load(job.method)
    torch.manual_seed(seed_from(job.seed, "encoder"))
    encoder = build_encoder(job.backbone, drop_path=job.settings.drop_path)
    torch.manual_seed(seed_from(job.seed, "heads"))
    return kind(encoder, kind.Config(**job.config), job.settings.crop)


def pretrain(
    job: PretrainJob,
    volumes: Sequence[Prepared],
    compute: Compute,
    work: Path,
    emit: Emit,
    check: Callable[[], None],
    checkpoint_seconds: float,
) -> Outcome:
    """Run or resume one pretraining.

    Args:
        job: What to train.
        volumes: The prepared corpus.
        compute: Device, precision and threads.
        work: Folder of this claim's checkpoints.
        emit: Receives progress.
        check: Raises when the claim on this work was lost.
        checkpoint_seconds: Wall time between checkpoints.

    Raises:
        CaseError: The loss became NaN or infinite.
    """
    settings = job.settings
    fabric = compute.fabric()
    method = build_method(job)
    method.to(memory_format=torch.channels_last_3d)
    optimizer = build_optimizer(method, settings.lr, settings.weight_decay, settings.betas)
    model, optimizer = fabric.setup(method, optimizer)
    model.train()
    rate = LearningRate(optimizer, settings.steps, settings.warmup_fraction, settings.min_lr)

    saved = checkpoint.load(work)
    start, seconds, resumed = 0, 0.0, 0
    history = History(settings.steps)
    if saved is not None:
        method.load_state_dict(saved["method"])
        optimizer.load_state_dict(saved["optimizer"])
        start, seconds, resumed = saved["step"], saved["seconds"], saved["resumed"] + 1
        history = History(settings.steps, saved["history"])

    crops = UnlabelledCrops(volumes, settings.crop, method.requires.views, job.seed)
    workers = 4 if fabric.device.type == "cuda" else 0
    loader = crops.loader(
        start * settings.batch, settings.steps * settings.batch, settings.batch, workers
    )
    began = saved_at = time.monotonic()
    for step, sample in enumerate(loader, start=start):
        progress = Progress(step, settings.steps)
        seed_step(seed_from(job.seed, "step", step))
        slots = range(step * settings.batch, (step + 1) * settings.batch)
        generators = tuple(
            torch.Generator().manual_seed(seed_from(job.seed, "method", slot)) for slot in slots
        )
        views = tuple(
            view.to(fabric.device, torch.float32, non_blocking=True).contiguous(
                memory_format=torch.channels_last_3d
            )
            for view in sample["views"]
        )
        rate.set(step)
        losses = model(Batch(views, progress, generators, tuple(sample["case"])))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(losses.total)
        method.before_update(progress)
        norm = gradient_norm(method.parameters(), settings.clip_gradient)
        optimizer.step()
        method.after_step(progress)
        history.add(step, {"loss": losses.total, **losses.terms, "gradient_norm": norm})
        now = time.monotonic()
        if history.at_point:
            history.note(lr=float(optimizer.param_groups[0]["lr"]), **method.watch())
            speed = (step + 1 - start) * settings.batch / (now - began)
            note = f"{history.latest}, {speed:.1f} scans/s"
            emit(Event(job.title, step + 1, settings.steps, note))
            if now - saved_at > checkpoint_seconds and step + 1 < settings.steps:
                check()
                checkpoint.save(
                    work,
                    {
                        "method": method.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": step + 1,
                        "seconds": seconds + now - began,
                        "resumed": resumed,
                        "history": history.points,
                    },
                )
                saved_at = now
    check()
    state = {name: value.detach().cpu().clone() for name, value in method.encoder_state().items()}
    return Outcome(
        state,
        history.points,
        seconds + time.monotonic() - began,
        resumed,
        settings.steps * settings.batch * method.requires.views,
    )
