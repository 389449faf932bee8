"""DINO: the mean feature of one crop predicts what a teacher makes of another crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from medssl_bench.method import Batch, Losses
from medssl_bench.methods.parts.distillation import SelfDistillation, other_view
from medssl_bench.methods.parts.heads import MeanHead
from medssl_bench.methods.parts.views import LocalCrops

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class DINO(SelfDistillation):
    r"""Self-distillation without labels, between two crops of a scan.

    Student and EMA teacher see both crops :math:`u, v`, whole. With
    :math:`P_s = softmax(z_s / \tau_s)` and :math:`P_t = softmax((z_t - c) / \tau_t)`, averaged
    over scans and both pairs of crops:

    .. math:: L = - P_t(u) \log P_s(v) \;\text{and}\; u \leftrightarrow v

    (paper 004, section 3.2, item 6). A head reads the mean of the coarsest feature map. The
    official code adds eight small crops of the image, which only the student sees and which are
    compared with both views; paper 004 takes two crops of one size. ``local_crops`` adds them, cut
    out of the two crops; the loss is then the mean over all pairs of a teacher's and another crop.
    """

    family = "distillation"
    reference = "Caron et al., DINO, ICCV 2021 (arXiv:2104.14294)"
    version = 1

    @dataclass(frozen=True)
    class Config(SelfDistillation.Config):
        """Hyper-parameters; paper 004, or the official code where the paper is silent."""

        out: int = 65536
        """Outputs of the head (official code; iBOT and SMIT have 8192)."""
        local_crops: int = 0
        """Small crops of each scan (paper 004: none; official code: 8)."""
        local_side: int = 48
        """Side of a small crop in voxels (ours; official code: 96 of 224 pixels)."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where small crops fit neither crop nor backbone."""
        super().__init__(encoder, config, crop)
        self.level = encoder.levels[-1]
        self.local = LocalCrops.fit("dino", encoder, crop, config.local_crops, config.local_side)
        self.add_teacher(
            MeanHead(self.level.channels, config.hidden, config.bottleneck, config.out)
        )

    def forward(self, batch: Batch) -> Losses:
        """Return the loss of the two views of each scan."""
        images = torch.cat(batch.views)
        targets = self.targets(images, batch.progress)
        logits = self.heads(self.encoder(images)[self.level.name])
        loss = self.compare(logits["global"], other_view(targets["global"]))
        if self.local.count == 0:
            return Losses(loss, {"global": loss})
        small = self.local.cut(batch, images)
        local_logits = self.heads(self.encoder(small)[self.level.name])["global"]
        count, views = self.local.count, len(batch.views)
        pairs = targets["global"].view(views, 1, -1, self.config.out)
        local = self.compare(local_logits.view(1, count, -1, self.config.out), pairs)
        # A scan has views * (views - 1) pairs of whole crops, and count * views with small ones.
        share = count / (views - 1 + count)
        return Losses((1 - share) * loss + share * local, {"global": loss, "local": local})
