"""SMIT: masked image prediction with patch and global token distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from medssl_bench.method import Batch, Losses, Method, Progress, Requires
from medssl_bench.methods.parts.distillation import Centre, cross_entropy, entropy
from medssl_bench.methods.parts.heads import TokenHeads, VoxelHead
from medssl_bench.methods.parts.masking import BlockMasking, masked_error, positions
from medssl_bench.methods.parts.schedules import cosine, warm_up
from medssl_bench.methods.parts.teacher import Teacher

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder

EPOCHS = 500
"""Epochs of the published run; its schedules become shares of any run's steps."""


class SMIT(Method):
    r"""Self-distilled masked image transformer.

    Two crops of a scan are two views :math:`u, v`; the student sees both masked (hidden set
    :math:`M`), its EMA teacher sees both clean. With :math:`P_s = softmax(z_s / \tau_s)` and
    :math:`P_t = softmax((z_t - c) / \tau_t)`, averaged over samples and views:

    .. math::
        L &= L_{MIP} + \lambda_{MPD} L_{MPD} + \lambda_{ITD} L_{ITD} \\
        L_{MIP} &= \tfrac{1}{|M|} \sum_{i \in M} | x_i - \hat x_i | \\
        L_{MPD} &= - \tfrac{1}{|M|} \sum_{i \in M} P_t^{patch}(u_i) \log P_s^{patch}(\tilde u_i) \\
        L_{ITD} &= - P_t^{global}(u) \log P_s^{global}(\tilde v)
            \;\text{and}\; u \leftrightarrow v

    Patch tokens are the encoder's token level (stride 16 in the paper's networks) under a
    LayerNorm, the global token is their mean (paper 004, section 3.2, item 8, which calls
    :math:`L_{ITD}` GTD; official code for the rest).
    """

    family = "mim"
    reference = "Jiang et al., SMIT, MICCAI 2022 (arXiv:2205.10342)"
    version = 2
    requires = Requires(views=2, mask_input=True, token_level=True)

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters; paper 004, or the official code where the paper is silent."""

        ratio: float = 0.75
        """Share of cells hidden, rounded up (paper 004; official code 0.7)."""
        cell: int = 16
        """Side of a masked block in voxels; a multiple of the token stride."""
        mip_loss: Literal["l1", "l2"] = "l1"
        """``l1``: absolute error, official code; ``l2``: squared, paper 004 ("as SimMIM")."""
        lambda_mpd: float = 0.1
        lambda_itd: float = 0.1
        tau_s: float = 0.1
        tau_t_start: float = 0.04
        tau_t_end: float = 0.07
        tau_t_share: float = 30 / EPOCHS
        """Share of the run over which the teacher's temperature rises linearly."""
        momentum_start: float = 0.996
        """EMA momentum, to ``momentum_end`` by a cosine over the global step (official code)."""
        momentum_end: float = 1.0
        centre_momentum: float = 0.9
        frozen_share: float = 1 / EPOCHS
        """Share of the run in which the heads' last layers stay as they are (one epoch)."""
        hidden: int = 2048
        bottleneck: int = 256
        out: int = 8192
        """Widths of the distillation heads (official code)."""
        transfer: Literal["student", "teacher"] = "student"
        """Whose encoder is handed on (official code: student)."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop, cell and backbone do not fit each other."""
        super().__init__(encoder, config, crop)
        self.level = encoder.token_level("smit")
        self.masking = BlockMasking.fit(
            "smit", encoder, crop, config.cell, config.ratio, multiple_of=self.level.stride
        )
        self.mask_token = nn.Parameter(torch.zeros(encoder.mask_channels))
        self.voxels = VoxelHead(encoder.levels[-1], encoder.in_channels, crop)
        self.heads = TokenHeads(self.level.channels, config.hidden, config.bottleneck, config.out)
        self.teacher = Teacher(encoder=encoder, heads=self.heads)
        self.patch_centre = Centre(config.out, config.centre_momentum)
        self.global_centre = Centre(config.out, config.centre_momentum)
        self._seen: dict[str, Tensor] = {}
        self._progress: Progress | None = None

    def forward(self, batch: Batch) -> Losses:
        """Return the three terms for the two views of each scan."""
        config = self.config
        images = torch.cat(batch.views)
        mask = self.masking.draw(batch)
        chosen = positions(self.masking.enlarge(mask, self.level.stride))
        mask = mask.to(images.device, non_blocking=True)
        chosen = chosen.to(images.device, non_blocking=True)

        target_patch, target_global = self._targets(images, batch.progress)
        target_patch = target_patch.take_along_dim(chosen.unsqueeze(-1), dim=1)
        other_view = target_global.roll(len(batch.views[0]), dims=0)

        features = self.encoder(images, mask, self.mask_token)
        student = self.heads(features[self.level.name], chosen)
        hidden = self.masking.enlarge(mask, stride=1)
        mip = masked_error(config.mip_loss, self.voxels(features), images, hidden)
        mpd = cross_entropy(student.patch_logits, target_patch, config.tau_s).mean()
        itd = cross_entropy(student.global_logits, other_view, config.tau_s).mean()

        self._seen["global_token"] = student.global_token.detach()
        total = mip + config.lambda_mpd * mpd + config.lambda_itd * itd
        return Losses(total, {"mip": mip, "mpd": mpd, "itd": itd})

    @torch.no_grad()
    def _targets(self, images: Tensor, progress: Progress) -> tuple[Tensor, Tensor]:
        """Return the teacher's patch ``(2B, T, out)`` and global ``(2B, out)`` probabilities."""
        features = self.teacher["encoder"](images)
        teacher = self.teacher["heads"](features[self.level.name])
        tau = self.temperature(progress)
        patch = self.patch_centre(teacher.patch_logits, tau)
        whole = self.global_centre(teacher.global_logits, tau)
        self._progress = progress
        self._seen |= {"patch": patch[0].clone(), "global": whole}
        return patch, whole

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
            self.heads.freeze_last_layers()

    def after_step(self, progress: Progress) -> None:
        """Move the teacher towards the student and the centres towards the teacher's outputs."""
        self.teacher.follow(self.momentum(progress), encoder=self.encoder, heads=self.heads)
        self.patch_centre.update()
        self.global_centre.update()

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the student's encoder, or the teacher's where ``transfer`` says so."""
        network = self.encoder if self.config.transfer == "student" else self.teacher["encoder"]
        return network.state_dict()

    def watch(self) -> dict[str, float]:
        """Return schedules and signs of collapse of the last step.

        Entropies (nats) near 0 mean one output wins always, near log(out) that none does; a
        ``feature_std`` near 0 means all crops have the same global token.
        """
        if self._progress is None:
            return {}
        return {
            "ema_momentum": self.momentum(self._progress),
            "teacher_temperature": self.temperature(self._progress),
            "teacher_entropy": entropy(self._seen["global"]).mean().item(),
            "teacher_patch_entropy": entropy(self._seen["patch"]).mean().item(),
            "feature_std": self._seen["global_token"].float().std(0, unbiased=False).mean().item(),
        }
