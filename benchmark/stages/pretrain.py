"""Pretraining: train one method's encoder on a corpus without labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medssl_bench import checkpoint, interrupt, registry
from medssl_bench.claims import ClaimLost
from medssl_bench.config import PretrainSettings
from medssl_bench.data.sampling import GroupedCrops, StepSlots, UnlabelledCrops
from medssl_bench.devices import joint_mean, run_on_devices
from medssl_bench.digest import seed_from
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.gallery import Gallery
from medssl_bench.history import History
from medssl_bench.method import Batch, Losses, Method, Place, Progress
from medssl_bench.networks import build_encoder
from medssl_bench.networks.compiling import compile_blocks, resolve_compile
from medssl_bench.peak import peak_bytes
from medssl_bench.progress import Emit, Event
from medssl_bench.stages.probe import OnlineProbe
from medssl_bench.training import (
    Compute,
    LearningRate,
    build_optimizer,
    gradient_norm,
    seed_step,
)
from medssl_bench.watch import FeatureWatch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

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


@dataclass(frozen=True)
class ProbeCases:
    """Labelled cases that an online probe follows a pretraining by."""

    cases: Sequence[Prepared]
    targets: int


@dataclass(frozen=True)
class Supplies:
    """What every process of a pretraining needs besides its job; it can be pickled."""

    volumes: Sequence[Prepared]
    """The prepared corpus."""
    work: Path
    """Folder of this claim's checkpoints."""
    check: Callable[[], None]
    """Raises when the claim on this work was lost."""
    checkpoint_seconds: float
    """Wall time between checkpoints."""
    probe: ProbeCases | None = None


@dataclass
class Outcome:
    """What a pretraining hands on."""

    state: dict[str, Tensor]
    history: list[dict[str, Any]]
    seconds: float
    resumed: int
    samples: int
    """Crops seen: each view of a scan is one."""
    negatives: int
    """Negatives that each anchor of a contrastive term met in a step; 0 without such a term."""
    peak_bytes: int | None
    """Most memory held by the first process; None: not measured."""
    compiled: bool = False
    extras: dict[str, Tensor] = field(default_factory=dict)
    """What fine-tuning needs beside the encoder."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """What was learned, over training: relative path -> PNG."""


def build_method(job: PretrainJob) -> Method:
    """Build the method around a fresh encoder; all methods of a seed start from equal encoders."""
    kind: type[Method] = registry.methods.load(job.method)
    torch.manual_seed(seed_from(job.seed, "encoder"))
    encoder = build_encoder(job.backbone, drop_path=job.settings.drop_path)
    torch.manual_seed(seed_from(job.seed, "heads"))
    return kind(encoder, kind.Config(**job.config), job.settings.crop)


def _synchronised(method: Method, fabric: Fabric) -> Method:
    """Have batch norms see the crops of all processes, so that their number decides nothing.

    Raises:
        BenchError: Torch has no such norm for this device.
    """
    norms = [type(module) for module in method.modules() if isinstance(module, _BatchNorm)]
    if fabric.world_size == 1 or not norms:
        return method
    if fabric.device.type != "cuda":
        raise BenchError(
            f"the batch norms of this backbone cannot be shared by {fabric.world_size} processes"
            f" on {fabric.device.type}; take one device, or another backbone"
        )
    shared: Method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    return shared


def pretrain(
    job: PretrainJob,
    supplies: Supplies,
    compute: Compute,
    emit: Emit,
    plugins: Sequence[Path] = (),
) -> Outcome:
    """Run or resume one pretraining; ``plugins`` are loaded where it takes several processes.

    Raises:
        CaseError: The loss became NaN or infinite; the last good checkpoint stays.
        ClaimLost: Another process took the work over.
        Interrupted: Told to stop; the checkpoint holds everything up to this step.
    """
    if compute.devices > 1:
        run_on_devices(compute, plugins, emit, _train, job, supplies)
    training = _Training(compute.fabric(), emit, job, supplies)
    training.run()
    return training.outcome()


def _train(fabric: Fabric, emit: Emit, job: PretrainJob, supplies: Supplies) -> None:
    """Train as one of several processes; what comes of it is in the last checkpoint."""
    training = _Training(fabric, emit, job, supplies)
    training.run()
    training.save(job.settings.steps)


class _Training:
    """The loop of one process; all processes together see each step's batch once."""

    def __init__(self, fabric: Fabric, emit: Emit, job: PretrainJob, supplies: Supplies) -> None:
        """Build everything, and go on from the newest checkpoint if there is one."""
        settings = job.settings
        self.fabric, self.emit, self.job, self.supplies = fabric, emit, job, supplies
        self.method = _synchronised(build_method(job), fabric)
        self.method.to(memory_format=torch.channels_last_3d)
        self.compiled = resolve_compile(settings.compile, fabric.device.type, settings.steps)
        if self.compiled:
            compile_blocks(self.method)
        optimizer = build_optimizer(self.method, settings.lr, settings.weight_decay, settings.betas)
        self.model, self.optimizer = fabric.setup(self.method, optimizer)
        self.model.train()
        self.rate = LearningRate(
            self.optimizer, settings.steps, settings.warmup_fraction, settings.min_lr
        )
        self.watch = FeatureWatch(self.method.encoder)
        self.probe: OnlineProbe | None = None
        if supplies.probe is not None and fabric.global_rank == 0:
            labelled = supplies.probe
            self.probe = OnlineProbe(
                labelled.cases, labelled.targets, settings.crop, job.seed, fabric
            )
        self.start, self.seconds, self.resumed, self.peak = 0, 0.0, 0, 0
        saved = checkpoint.load(supplies.work)
        if saved is not None:
            self._check_devices(saved)
            self.method.load_state_dict(saved["method"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.watch.restore(saved["watch"])
            self.start, self.seconds, self.peak = saved["step"], saved["seconds"], saved["peak"]
            self.resumed = saved["resumed"] + (self.start < settings.steps)
        if fabric.world_size > 1 and (first := fabric.broadcast(self.start)) != self.start:
            raise CaseError(
                f"{supplies.work}: one process sees the checkpoint of step {self.start}, the first"
                f" one of step {first}; is the folder on a file system that all nodes share?"
            )
        self.gallery = Gallery(settings.steps, saved.get("gallery") if saved else None)
        history = saved and saved["history"]
        self.history = History(settings.steps, history, joint_mean(fabric))
        self.began = self.saved_at = time.monotonic()

    def _check_devices(self, saved: Mapping[str, Any]) -> None:
        """Refuse to go on with another number of devices: the same crops add up differently."""
        world = self.fabric.world_size
        if saved["step"] < self.job.settings.steps and saved["devices"] != world:
            raise CaseError(
                f"{self.job.title}: step {saved['step']} was reached on {saved['devices']} devices,"
                f" {world} would round otherwise; go on with --devices {saved['devices']}, or"
                f" remove {self.supplies.work.parent} to start over"
            )

    def run(self) -> None:
        """Take every step that is left."""
        fabric, settings, job = self.fabric, self.job.settings, self.job
        rank, world = fabric.global_rank, fabric.world_size
        grouped = self.method.requires.min_modalities > 1
        crops = (GroupedCrops if grouped else UnlabelledCrops)(
            self.supplies.volumes,
            settings.crop,
            self.method.requires.views,
            job.seed,
            settings.view_shift,
        )
        slots = StepSlots(self.start, settings.steps, settings.batch, rank, world)
        loader = crops.loader(slots, workers=4 if fabric.device.type == "cuda" else 0)
        for step, sample in enumerate(loader, start=self.start):
            # Other processes drop other paths; the first one drops those of a process alone.
            seed_step(seed_from(job.seed, "step", step, *([rank] if rank else [])))
            losses, norm = self._step(Progress(step, settings.steps), sample)
            self.history.add(step, {"loss": losses.total, **losses.terms, "gradient_norm": norm})
            done = step + 1
            if self.history.at_point:
                self._close_point(done)
            asked = world == 1 or self.history.at_point or done % interrupt.ROUND == 0
            if asked and done < settings.steps:
                self._save_or_stop(done)
        self._agree("due")

    def _step(self, progress: Progress, sample: dict[str, Any]) -> tuple[Losses, Tensor]:
        """Take one optimizer step; returns its losses and the gradient's norm before clipping."""
        batch = self._batch(progress, sample)
        self.rate.set(progress.step)
        losses: Losses = self.model(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(losses.total)
        self.method.before_update(progress)
        norm = gradient_norm(self.method.parameters(), self.job.settings.clip_gradient)
        self.optimizer.step()
        self.method.after_step(progress)
        return losses, norm

    def _batch(self, progress: Progress, sample: dict[str, Any]) -> Batch:
        """Move what the loader hands on to the device."""
        device = self.fabric.device
        slots = torch.as_tensor(sample["slot"]).tolist()
        return Batch(
            views=tuple(
                view.to(device, torch.float32, non_blocking=True).contiguous(
                    memory_format=torch.channels_last_3d
                )
                for view in sample.get("views", ())
            ),
            progress=progress,
            generators=tuple(
                torch.Generator().manual_seed(seed_from(self.job.seed, "method", slot))
                for slot in slots
            ),
            cases=tuple(sample["case"]),
            modalities=tuple(sample.get("modality", ())),
            channels=tuple(
                {
                    name: crop.to(device, torch.float32, non_blocking=True)
                    for name, crop in channels.items()
                }
                for channels in sample.get("channels", ())
            ),
            places=tuple(
                Place(*place)
                for place in zip(sample.get("start", ()), sample.get("shape", ()), strict=True)
            ),
        )

    def _close_point(self, done: int) -> None:
        """Note what belongs to a point of the history, and show it."""
        settings = self.job.settings
        rate = {"lr": float(self.optimizer.param_groups[0]["lr"])}
        figures = {**rate, **self.method.watch(), **self.watch.figures()}
        if self.probe is not None and self._probes(done):
            figures |= self.probe.score(self.method.encoder)
        if self.gallery.due(done, self.history.every):
            self.gallery.take(done, self.method.pictures())
        self.history.note(**figures)
        now = time.monotonic()
        speed = (done - self.start) * settings.batch / (now - self.began)
        note = f"{self.history.latest}, {speed:.1f} scans/s"
        self.emit(Event(self.job.title, done, settings.steps, note))

    def _save_or_stop(self, done: int) -> None:
        """Write a checkpoint when it is time to, and stop after one when told to.

        Raises:
            Interrupted: The first process was told to stop.
        """
        due = time.monotonic() - self.saved_at > self.supplies.checkpoint_seconds
        word = self._agree("stop" if interrupt.told() else "due" if due else "")
        if word:
            self.save(done)
            self.saved_at = time.monotonic()
        if word == "stop":
            raise interrupt.Interrupted(f"{self.job.title} stopped after step {done}")

    def _probes(self, done: int) -> bool:
        """Tell whether a probe falls on this point: the first at or after each multiple."""
        every, before = self.job.settings.probe_every, done - self.history.every
        return done // every > before // every or done == self.job.settings.steps

    def _agree(self, word: str) -> str:
        """Follow the first process's word, which is nothing unless the claim is still ours.

        Raises:
            ClaimLost: Another process took the work over.
        """
        lost = None
        if word and self.fabric.global_rank == 0:
            try:
                self.supplies.check()
            except ClaimLost as error:
                lost = str(error)
        if self.fabric.world_size > 1:
            word, lost = self.fabric.broadcast((word, lost))
        if lost is not None:
            raise ClaimLost(lost)
        return word

    def save(self, done: int) -> None:
        """Write a checkpoint, from the first process; each has to call this."""
        history = self.history.state()
        fault: Exception | None = None
        if self.fabric.global_rank == 0:
            try:
                self._write(done, history)
            except (ClaimLost, CaseError) as error:
                fault = error
        if self.fabric.world_size > 1:
            fault = self.fabric.broadcast(fault)
        if fault is not None:
            raise fault

    def _write(self, done: int, history: dict[str, Any]) -> None:
        self.peak = max(self.peak, peak_bytes(self.fabric.device.type) or 0)
        checkpoint.save(
            self.supplies.work,
            {
                "method": self.method.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": done,
                "seconds": self.seconds + time.monotonic() - self.began,
                "resumed": self.resumed,
                "peak": self.peak,
                "devices": self.fabric.world_size,
                "watch": self.watch.state(),
                "gallery": self.gallery.state(),
                "history": history,
            },
        )

    def outcome(self) -> Outcome:
        """Return what the finished training hands on."""
        settings = self.job.settings
        state = self.method.encoder_state()
        return Outcome(
            state={name: value.detach().cpu().clone() for name, value in state.items()},
            history=self.history.points,
            seconds=self.seconds + time.monotonic() - self.began,
            resumed=self.resumed,
            samples=settings.steps * settings.batch * self.method.requires.views,
            negatives=self.method.negatives(settings.batch),
            peak_bytes=max(self.peak, peak_bytes(self.fabric.device.type) or 0) or None,
            compiled=self.compiled,
            extras={n: value.detach().cpu().clone() for n, value in self.method.extras().items()},
            pictures=self.gallery.files(),
        )
