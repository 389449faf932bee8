"""Self-distillation: a student learns the outputs of its own moving average (DINO, iBOT, SMIT)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Method, Progress, Requires
from medssl_bench.methods.parts.distributed import mean
from medssl_bench.methods.parts.heads import MeanHead, ProjectionHead, TokenHeads
from medssl_bench.methods.parts.masking import BlockMasking, mask_token, positions
from medssl_bench.methods.parts.schedules import cosine, warm_up
from medssl_bench.methods.parts.teacher import Teacher

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder, Level

EPOCHS = 500
"""Epochs of paper 004's runs; their schedules become shares of any run's steps."""


class SelfDistillation(Method):
    r"""What self-distilling methods share: teacher, centres, schedules, watch.

    With :math:`z_s` and :math:`z_t` what the heads of student and teacher make of a crop, and
    :math:`c` the moving mean of the latter,

    .. math:: P_s = softmax(z_s / \tau_s), \quad P_t = softmax((z_t - c) / \tau_t)

    and a loss is :math:`-P_t \log P_s` (:meth:`compare`). A method's constructor ends with
    :meth:`add_teacher`.
    """

    requires = Requires(views=2)

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters; paper 004, or the official code where the paper is silent."""

        tau_s: float = 0.1
        """Temperature of the student (paper 004)."""
        tau_t_start: float = 0.04
        """Temperature of the teacher at first (paper 004)."""
        tau_t_end: float = 0.07
        """Temperature of the teacher from ``tau_t_share`` on (paper 004)."""
        tau_t_share: float = 30 / EPOCHS
        """Share of the run over which the teacher's temperature rises linearly (paper 004)."""
        momentum_start: float = 0.996
        """EMA momentum, to ``momentum_end`` by a cosine over the global step (official code)."""
        momentum_end: float = 1.0
        """EMA momentum at the end of the run (official code)."""
        centre_momentum: float = 0.9
        """The old centre's share in the new one (official code)."""
        frozen_share: float = 1 / EPOCHS
        """Share of the run in which the heads' last layers stay as they are: one epoch (official
        code)."""
        hidden: int = 2048
        """Width of a head's two hidden layers (official code)."""
        bottleneck: int = 256
        """Width of a head before its last layer (official code)."""
        out: int = 8192
        """Outputs of a head (official code)."""
        transfer: Literal["student", "teacher"] = "teacher"
        """Whose encoder is handed on (official code: teacher)."""

    config: Config
    level: Level
    """The feature level that the heads read."""

    def add_teacher(self, heads: MeanHead | TokenHeads) -> None:
        """Take the heads, copy them and the encoder to a teacher, and centre its outputs.

        Raises:
            BenchError: a temperature, momentum or share that cannot be one.
        """
        self._check_ranges()
        self.heads = heads
        self.teacher = Teacher(encoder=self.encoder, heads=heads)
        width, momentum = self.config.out, self.config.centre_momentum
        for name in heads.outputs:
            self.add_module(f"{name}_centre", Centre(width, momentum))
        self._seen: tuple[Progress, dict[str, Tensor]] | None = None

    def _check_ranges(self) -> None:
        word = type(self).__name__.lower()
        for name, value in asdict(self.config).items():
            if name in ("tau_s", "tau_t_start", "tau_t_end") and not value > 0:
                raise BenchError(f"{word}: {name}={value} must be above 0")
            if name.endswith(("momentum", "_share", "momentum_start", "momentum_end")) and not (
                0 <= value <= 1
            ):
                raise BenchError(f"{word}: {name}={value} must be between 0 and 1")

    @property
    def centres(self) -> dict[str, Centre]:
        """The centres of the teacher's logits, by output of the heads."""
        return {name: getattr(self, f"{name}_centre") for name in self.heads.outputs}

    @torch.no_grad()
    def targets(self, images: Tensor, progress: Progress) -> dict[str, Tensor]:
        """Return the teacher's :math:`P_t` for clean crops, by output of the heads."""
        features = self.teacher["encoder"](images)
        logits = self.teacher["heads"](features[self.level.name])
        tau = self.temperature(progress)
        targets = {name: centre(logits[name], tau) for name, centre in self.centres.items()}
        # One crop's patches show a collapse; those of all would hold on to much memory.
        kept = {name: t if t.ndim == 2 else t[0].clone() for name, t in targets.items()}
        self._seen = (progress, kept)
        return targets

    def compare(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross entropy of student logits to the teacher's probabilities."""
        return cross_entropy(logits, target, self.config.tau_s).mean()

    def temperature(self, progress: Progress) -> float:
        """Return the teacher's temperature at this step."""
        config = self.config
        return warm_up(progress.fraction, config.tau_t_start, config.tau_t_end, config.tau_t_share)

    def momentum(self, progress: Progress) -> float:
        """Return the EMA momentum at this step."""
        return cosine(progress.fraction, self.config.momentum_start, self.config.momentum_end)

    def before_update(self, progress: Progress) -> None:
        """Drop the last layers' gradients in the first epoch's share of the run."""
        if progress.fraction < self.config.frozen_share:
            for head in self.heads.modules():
                if isinstance(head, ProjectionHead):
                    head.last.weight.grad = None

    def after_step(self, progress: Progress) -> None:
        """Move the teacher towards the student and the centres towards the teacher's outputs."""
        self.teacher.follow(self.momentum(progress), encoder=self.encoder, heads=self.heads)
        for centre in self.centres.values():
            centre.update()

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder of the network that ``transfer`` names."""
        network = self.encoder if self.config.transfer == "student" else self.teacher["encoder"]
        return network.state_dict()

    def watch(self) -> dict[str, float]:
        """Return schedules and signs of collapse of the last step.

        Entropies (nats) near 0 mean one output wins always, near log(out) that none does. A
        centre's drift is the length of its last move.
        """
        if self._seen is None:
            return {}
        progress, targets = self._seen
        figures = {
            "ema_momentum": self.momentum(progress),
            "teacher_temperature": self.temperature(progress),
        }
        for name, target in targets.items():
            of = "" if name == "global" else f"{name}_"
            figures[f"teacher_{of}entropy"] = entropy(target).mean().item()
            figures[f"{of}centre_drift"] = self.centres[name].drift.item()
        return figures


class TokenDistillation(SelfDistillation):
    r"""Self-distillation of masked patch tokens and of their mean (iBOT, SMIT).

    The patch tokens are a feature level of the encoder's token stride (16 in the paper's networks)
    under a LayerNorm, the global token is their mean. The student sees both views with whole cells
    of patches hidden, the teacher sees them clean.
    """

    requires = Requires(views=2, mask_input=True, token_level=True)

    @dataclass(frozen=True)
    class Config(SelfDistillation.Config):
        """Hyper-parameters; paper 004, or SMIT's code where the paper is silent."""

        ratio: float = 0.75
        """Share of cells hidden, rounded up (paper 004; SMIT's code 0.7, iBOT's at most 0.5)."""
        cell: int = 16
        """Side of a masked block in voxels; a multiple of the token stride (SMIT's code)."""
        token_std: float = 0.02
        """Standard deviation of the mask token's truncated-normal start (SimMIM's code). SMIT's and
        iBOT's start at 0: then windows of hidden tokens alone stay 0 through LayerNorms, whose
        gradients multiply to 1e9 and more in the first step (``swin_65m``, 64^3 crops)."""

    config: Config

    def __init__(
        self, name: str, encoder: Encoder, config: Config, crop: tuple[int, int, int]
    ) -> None:
        """Raise BenchError, for the method ``name``, where crop, cell and backbone do not fit."""
        super().__init__(encoder, config, crop)
        self.level = encoder.token_level(name)
        self.masking = BlockMasking.fit(
            name, encoder, crop, config.cell, config.ratio, multiple_of=self.level.stride
        )
        self.mask_token = mask_token(encoder, config.token_std)

    def distil(self, batch: Batch) -> Distilled:
        """Compare student and teacher over the two views of each scan.

        Patches are compared within a view and only where hidden, global tokens across views; both
        losses are means over crops, the first after a mean over each crop's hidden patches.
        """
        images = torch.cat(batch.views)
        mask = self.masking.draw(batch)
        chosen = positions(self.masking.enlarge(mask, self.level.stride))
        mask = mask.to(images.device, non_blocking=True)
        chosen = chosen.to(images.device, non_blocking=True)

        targets = self.targets(images, batch.progress)
        features = self.encoder(images, mask, self.mask_token)
        logits = self.heads(features[self.level.name], chosen)
        patch_targets = targets["patch"].take_along_dim(chosen.unsqueeze(-1), dim=1)
        patch_loss = self.compare(logits["patch"], patch_targets)
        global_loss = self.compare(logits["global"], other_view(targets["global"]))
        return Distilled(patch_loss, global_loss, images, mask, features)


class Distilled(NamedTuple):
    """What :meth:`TokenDistillation.distil` compared, and from what."""

    patch_loss: Tensor
    global_loss: Tensor
    images: Tensor
    """``(2B, C, D, H, W)``: the first view of each scan, then the second."""
    mask: Tensor
    """``(2B, d, h, w)``: the student's hidden cells."""
    features: dict[str, Tensor]
    """The student's, by level."""


def other_view(rows: Tensor) -> Tensor:
    """Swap the halves of ``(2B, ...)``: each crop gets the row of its scan's other view."""
    return rows.roll(len(rows) // 2, dims=0)


class Centre(nn.Module):
    """The moving mean of a teacher's logits; subtracting it keeps one output from winning always.

    A step's outputs are noted in the forward pass and enter the mean in :meth:`update`, after the
    optimizer step, so that ``value`` alone is the state to save.
    """

    value: Tensor

    def __init__(self, width: int, momentum: float) -> None:
        """Start at zero; ``momentum`` is the old mean's share (0.9)."""
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(width))
        self.drift = torch.zeros(())
        """Length of the last move."""
        self._total: Tensor | None = None
        self._rows = 0

    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Return ``softmax((logits - centre) / temperature)`` in float32, and note the logits."""
        logits = logits.detach().float()
        rows = logits.flatten(0, -2)
        total = rows.sum(dim=0)
        self._total = total if self._total is None else self._total + total
        self._rows += len(rows)
        return ((logits - self.value) / temperature).softmax(dim=-1)

    @torch.no_grad()
    def update(self) -> None:
        """Move the centre by what was noted since the last update, on all processes alike."""
        if self._total is None:
            return
        before = self.value.clone()
        self.value.lerp_(mean(self._total / self._rows), 1.0 - self.momentum)
        self.drift = torch.linalg.vector_norm(self.value - before)
        self._total, self._rows = None, 0


def cross_entropy(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return ``-sum(target * log softmax(logits / temperature))`` over the last axis, in float32.

    ``logits`` (student) and ``target`` (the teacher's probabilities) ``(..., out)`` give ``(...)``.
    """
    return -(target * (logits.float() / temperature).log_softmax(dim=-1)).sum(dim=-1)


def entropy(probabilities: Tensor) -> Tensor:
    """Return ``-sum(p log p)`` over the last axis, in nats; ``(..., out)`` gives ``(...)``."""
    return torch.special.entr(probabilities).sum(dim=-1)
