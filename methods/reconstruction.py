"""Reconstruction: rebuild a crop from its own features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medssl_bench.method import Batch, Losses, Method, Requires
from medssl_bench.methods.parts.decoder import Decoder, voxel_error

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class Reconstruction(Method):
    r"""An autoencoder: the crop is not corrupted, the coarsest feature level is the bottleneck.

    With :math:`x` a crop of N voxels and :math:`\hat x` its prediction:

    .. math:: L = \frac{1}{N} \sum_{i=1}^{N} \lVert x_i - \hat x_i \rVert^2

    (paper 004, section 3.2, item 3). The decoder, of which the paper says nothing, is that of
    :class:`~medssl_bench.methods.inpainting.Inpainting`, so that the two differ in their input
    alone. There is nothing to set.
    """

    family = "reconstruction"
    reference = "paper 004, section 3.2: an autoencoder"
    version = 1
    requires = Requires()

    def __init__(self, encoder: Encoder, config: Method.Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop and backbone do not fit each other."""
        super().__init__(encoder, config, crop)
        self.decoder = Decoder("reconstruction", encoder.levels[-1], encoder.in_channels, crop)

    def forward(self, batch: Batch) -> Losses:
        """Return the squared error over all voxels of ``batch.views[0]``."""
        (image,) = batch.views
        loss = voxel_error("l2", self.decoder(self.encoder(image)), image)
        return Losses(loss, {"l2": loss})
