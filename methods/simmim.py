"""SimMIM: predict the voxels of masked blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medssl_bench.method import Batch, Losses, Method, Requires
from medssl_bench.methods.parts.heads import VoxelHead
from medssl_bench.methods.parts.masking import BlockMasking, mask_token, masked_error

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class SimMIM(Method):
    r"""Masked image modelling with a one-layer decoder.

    With :math:`M` the hidden voxels, :math:`x` the crop and :math:`\hat x` its prediction from the
    crop whose patch embeddings in :math:`M` were replaced by a learned token:

    .. math:: L = \frac{1}{|M|} \sum_{i \in M} \lVert x_i - \hat x_i \rVert_2^2

    (paper 004, section 3.2). The official 2-D code takes :math:`|x_i - \hat x_i|`: ``loss="l1"``.
    """

    family = "mim"
    reference = "Xie et al., SimMIM, CVPR 2022 (arXiv:2111.09886)"
    version = 2
    requires = Requires(mask_input=True)

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters; paper 004 unless said."""

        ratio: float = 0.75
        """Share of cells hidden, rounded up (official 2-D code: 0.6)."""
        cell: int = 16
        """Side of a masked block in voxels (SMIT code; 32 is the official 2-D block in pixels)."""
        loss: Literal["l2", "l1"] = "l2"
        """``l2``: squared error, paper 004; ``l1``: the official code."""
        token_std: float = 0.02
        """Standard deviation of the mask token's truncated-normal start (official code)."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop, cell and backbone do not fit each other."""
        super().__init__(encoder, config, crop)
        self.masking = BlockMasking.fit("simmim", encoder, crop, config.cell, config.ratio)
        self.mask_token = mask_token(encoder, config.token_std)
        self.head = VoxelHead(encoder.levels[-1], encoder.in_channels, crop)

    def forward(self, batch: Batch) -> Losses:
        """Return the error over the hidden voxels of ``batch.views[0]``."""
        (image,) = batch.views
        mask = self.masking.draw(batch).to(image.device, non_blocking=True)
        features = self.encoder(image, mask, self.mask_token)
        prediction = self.head(features)
        hidden = self.masking.enlarge(mask, stride=1)
        loss = masked_error(self.config.loss, prediction, image, hidden)
        return Losses(loss, {self.config.loss: loss})
