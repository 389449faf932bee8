"""Rotation: tell by how many quarter turns a crop was turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.method import Batch, Losses, Method, Requires
from medssl_bench.methods.parts.turns import TURNS, Plane, QuarterTurns

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class Rotation(Method):
    r"""Classification of the rotation of a crop by 0, 90, 180 or 270 degrees.

    With :math:`\bar f` the mean of the coarsest feature level over the crop, and :math:`y` the
    turn that was drawn, averaged over crops:

    .. math:: L = - \sum_{c=0}^{3} y_c \log \hat y_c, \quad \hat y = softmax(W \bar f + b)

    (paper 004, section 3.2, item 5, which names no plane). SwinUNETR's pretraining code turns in
    the last two axes, which are A and S there as here: the sagittal plane, the default. Where
    voxels are longer along S than along A, as in paper 004, odd turns can be told by that alone;
    ``plane="axial"`` turns R and A, which are alike. That code reads the first token of the
    feature level where this takes the mean, which sees the whole crop.
    """

    family = "rotation"
    reference = "Gidaris et al., RotNet, ICLR 2018 (arXiv:1803.07728), as in SwinUNETR"
    version = 1
    requires = Requires()

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters."""

        plane: Plane = "sagittal"
        """Plane of the turns (SwinUNETR's pretraining code); the crop must be square in it."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where the crop is not square in the plane of the turns."""
        super().__init__(encoder, config, crop)
        self.turns = QuarterTurns.fit("rotation", crop, config.plane)
        self.level = encoder.levels[-1]
        self.head = nn.Linear(self.level.channels, TURNS)
        self._seen: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> Losses:
        """Return the cross entropy of the turns of ``batch.views[0]``."""
        (image,) = batch.views
        turns = self.turns.draw(batch)
        features = self.encoder(self.turns.apply(image, turns))[self.level.name]
        logits = self.head(features.mean(dim=(2, 3, 4))).float()
        turns = turns.to(logits.device, non_blocking=True)
        loss = functional.cross_entropy(logits, turns)
        self._seen["accuracy"] = (logits.detach().argmax(dim=1) == turns).float().mean()
        return Losses(loss, {"cross_entropy": loss})

    def watch(self) -> dict[str, float]:
        """Return the share of the last step's turns that were told right; chance is 0.25."""
        return {name: value.item() for name, value in self._seen.items()}
