"""What pretraining and fine-tuning share: device, precision, optimizer, learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn

from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["bf16-mixed", "32-true"]
NO_DECAY = ("mask_token", "relative_position", "absolute_position", "logit_scale", "cpb_mlp")


def resolve_device(name: str) -> str:
    """Turn ``auto`` into ``cuda`` or ``cpu``; asking for a GPU that is not there is an error."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise BenchError("--device cuda: torch sees no CUDA device; see `bench doctor`")
    return name


def resolve_precision(name: str, device: str) -> Precision:
    """Turn ``auto`` into bf16 where the hardware multiplies in it, else plain float32."""
    if name != "auto":
        return cast(Precision, name)
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if _cpu_has_bf16() else "32-true"


def _cpu_has_bf16() -> bool:
    """AMX only: with AVX512-BF16 alone, convolutions in bf16 were slower than in float32."""
    check = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(check and check())


@dataclass(frozen=True)
class Elsewhere:
    """What a plan's jobs compute on, where that is another machine than the one that plans."""

    device: Literal["cpu", "cuda"]
    threads: int
    """Of one process."""
    devices: int = 1
    """Devices that share one pretraining."""

    def compute(self, precision: str) -> Compute:
        """Say in what precision too; ``auto`` on a GPU is bf16, which its job verifies."""
        if precision == "auto" and self.device == "cuda":
            precision = "bf16-mixed"
        found = resolve_precision(precision, self.device)
        return Compute(self.device, found, self.threads, self.devices)


@dataclass(frozen=True)
class Compute:
    """Where and in what precision a run computes."""

    device: str
    precision: Precision
    threads: int
    """Of one process."""
    devices: int = 1
    """Devices that share one pretraining, each with a process of its own (CPU: processes)."""

    def fabric(self) -> Fabric:
        """Build the Fabric that owns device placement and autocast (one process)."""
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment

        self.settle()
        # Of a SLURM job's processes, each that asks here works alone.
        alone = LightningEnvironment()
        return Fabric(accelerator=self.device, devices=1, precision=self.precision, plugins=[alone])

    def settle(self) -> None:
        """Set what a process that computes needs set."""
        import logging

        logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
        if self.device == "cuda" and self.precision == "32-true":
            torch.backends.cudnn.allow_tf32 = False  # what is recorded as float32 is float32
            torch.backends.cuda.matmul.allow_tf32 = False


def build_optimizer(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    slower: tuple[nn.Module, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW; no decay on 1-D tensors, mask tokens and what makes relative positions.

    ``slower``: a part of the model and the share of ``lr`` at which it learns; the schedule keeps
    that share (timm's ``lr_scale``).
    """
    from timm.optim import param_groups_weight_decay

    spared = [
        name for name, _ in model.named_parameters() if any(word in name for word in NO_DECAY)
    ]
    groups = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=spared)
    if slower is not None and slower[1] != 1:
        part, scale = {id(parameter) for parameter in slower[0].parameters()}, slower[1]
        groups = [
            {**group, "params": chosen, "lr_scale": scale if within else 1.0}
            for group in groups
            for within in (False, True)
            if (chosen := [p for p in group["params"] if (id(p) in part) == within])
        ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)


class LearningRate:
    """Linear warm-up from zero, then cosine to ``min_lr``; a closed form of the global step."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        steps: int,
        warmup_fraction: float,
        min_lr: float,
    ) -> None:
        """Span ``steps`` optimizer steps, of which a share warms up."""
        import logging

        from timm.scheduler import CosineLRScheduler

        # It warns of a single step, which the first of a calibration is.
        logging.getLogger("timm.scheduler").setLevel(logging.ERROR)
        warmup = round(steps * warmup_fraction)
        self._scheduler = CosineLRScheduler(
            optimizer,
            t_initial=max(steps - warmup, 1),
            lr_min=min_lr,
            warmup_t=warmup,
            warmup_lr_init=0.0,
            warmup_prefix=True,
            t_in_epochs=False,
        )

    def set(self, step: int) -> None:
        """Set the rate of optimizer step ``step`` (the first one is 0)."""
        self._scheduler.step_update(step)


def gradient_norm(parameters: Iterable[nn.Parameter], limit: float | None) -> torch.Tensor:
    """Clip the total gradient norm at ``limit`` if there is one, and return it unclipped."""
    found = [p for p in parameters if p.grad is not None]
    return torch.nn.utils.clip_grad_norm_(found, limit if limit is not None else float("inf"))


def seed_step(seed: int) -> None:
    """Seed torch's global generators (drop-path) for one step.

    Every step has its own seed, so a resumed run needs no generator state to repeat itself.
    """
    torch.manual_seed(seed)


def to_plain(value: Any) -> float:
    """Turn a tensor of one element into a float."""
    return float(value.detach()) if isinstance(value, torch.Tensor) else float(value)
