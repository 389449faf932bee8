"""Inpainting: rebuild a crop of which cuboids were dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medssl_bench.method import Batch, Losses, Method, Requires
from medssl_bench.methods.parts.cutout import Cutout
from medssl_bench.methods.parts.decoder import Decoder, voxel_error

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class Inpainting(Method):
    r"""Reconstruction of a whole crop from a copy with cuboids of noise in it.

    With :math:`x` a crop of N voxels and :math:`\hat x` its prediction from the corrupted crop,
    visible voxels count as much as dropped ones:

    .. math:: L = \frac{1}{N} \sum_{i=1}^{N} \lVert x_i - \hat x_i \rVert_2^2

    (paper 004, section 3.2, item 2). Cutout and decoder, of which the paper says nothing, are those
    of SwinUNETR's pretraining code. That code takes :math:`|x_i - \hat x_i|` (``loss="l1"``) and
    drops a second time, for what another scan of the batch shows (``second_pass=True``); here once,
    so that what is to be inpainted are gaps, and a scan's input does not depend on its batch.
    """

    family = "reconstruction"
    reference = "Tang et al., SwinUNETR, CVPR 2022 (arXiv:2111.14791)"
    version = 1
    requires = Requires()

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters; SwinUNETR's pretraining code unless said."""

        volume: float = 0.3
        """A pass drops a share of the crop's volume drawn from U(0, ``volume``)."""
        smallest: float = 0.05
        """Shortest side of a cuboid, as a share of the crop's."""
        largest: float = 0.25
        """Longest side of a cuboid, as a share of the crop's."""
        second_pass: bool = False
        """Drop cuboids again, for what another scan of the batch shows there (that code: yes)."""
        loss: Literal["l2", "l1"] = "l2"
        """``l2``: squared error, paper 004; ``l1``: that code."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop and backbone do not fit, or for impossible cuboids."""
        super().__init__(encoder, config, crop)
        self.cutout = Cutout(config.volume, config.smallest, config.largest, config.second_pass)
        self.decoder = Decoder("inpainting", encoder.levels[-1], encoder.in_channels, crop)

    def forward(self, batch: Batch) -> Losses:
        """Return the error over all voxels of ``batch.views[0]``."""
        (image,) = batch.views
        features = self.encoder(self.cutout(batch, image))
        loss = voxel_error(self.config.loss, self.decoder(features), image)
        return Losses(loss, {self.config.loss: loss})
