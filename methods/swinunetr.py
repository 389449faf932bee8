"""SwinUNETR: rotation, inpainting and contrast together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Losses, Method, Requires
from medssl_bench.methods.parts.contrast import nt_xent
from medssl_bench.methods.parts.cutout import Cutout
from medssl_bench.methods.parts.decoder import Decoder, voxel_error
from medssl_bench.methods.parts.turns import TURNS, Plane, QuarterTurns

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class SwinUNETR(Method):
    r"""Three tasks on two crops of each scan, turned by quarter turns and then cut.

    With :math:`x` a turned crop, :math:`\hat x` its prediction from the cut one, :math:`y` its
    turn, and :math:`v` the projection of the cut crop, averaged over crops:

    .. math::
        L &= \lambda_{rot} L_{rot} + \lambda_{inp} L_{inp} + \lambda_{con} L_{con} \\
        L_{rot} &= - \sum_{c=0}^{3} y_c \log \hat y_c \\
        L_{inp} &= \tfrac{1}{N} \sum_{i=1}^{N} | x_i - \hat x_i | \\
        L_{con} &= -\log \frac{\exp(sim(v_i, v_j) / t)}
            {\sum_k 1_{[k \ne i]} \exp(sim(v_i, v_k) / t)}

    (paper 004, section 3.2, item 9; all numbers from SwinUNETR's pretraining code). Different from
    that code, by default: rotation and contrast read the mean of the coarsest feature level, which
    sees the whole crop, not its first and second token (``pool="token01"``); the two views are two
    crops, as in paper 004's other methods of two views, not one crop twice
    (``second_view="same"``).
    """

    family = "multi"
    reference = "Tang et al., SwinUNETR, CVPR 2022 (arXiv:2111.14791)"
    version = 1
    requires = Requires(views=2, min_batch=2)

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters; SwinUNETR's pretraining code unless said."""

        lambda_rotation: float = 1.0
        lambda_inpainting: float = 1.0
        lambda_contrast: float = 1.0
        plane: Plane = "sagittal"
        """Plane of the turns; the crop must be square in it."""
        volume: float = 0.3
        """Each of two passes drops a share of the crop's volume drawn from U(0, ``volume``)."""
        smallest: float = 0.05
        """Shortest side of a cuboid, as a share of the crop's."""
        largest: float = 0.25
        """Longest side of a cuboid, as a share of the crop's."""
        second_pass: bool = True
        """Drop cuboids again, for what another scan of the batch shows there."""
        inpainting_loss: Literal["l1", "l2"] = "l1"
        """``l1``: absolute error; ``l2``: squared, as paper 004's Inpainting."""
        out: int = 512
        """Length of a projected feature."""
        tau: float = 0.5
        """Temperature t of the contrast."""
        pool: Literal["mean", "token01"] = "mean"
        """What rotation and contrast read: the ``mean`` of the coarsest feature level (ours), or
        its first and its second token."""
        second_view: Literal["crop", "same"] = "crop"
        """``crop``: another crop of the scan (paper 004); ``same``: the first one once more, turned
        and cut by draws of its own."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where crop, settings and backbone do not fit each other."""
        super().__init__(encoder, config, crop)
        self.level = encoder.levels[-1]
        if not config.tau > 0:
            raise BenchError(f"swinunetr: tau={config.tau} must be above 0")
        self.turns = QuarterTurns.fit("swinunetr", crop, config.plane)
        self.cutout = Cutout(config.volume, config.smallest, config.largest, config.second_pass)
        self.decoder = Decoder("swinunetr", self.level, encoder.in_channels, crop)
        self.rotation = nn.Linear(self.level.channels, TURNS)
        self.contrast = nn.Linear(self.level.channels, config.out)
        self._seen: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> Losses:
        """Return the three terms for the two views of each scan."""
        config = self.config
        first, second = batch.views
        images = torch.cat((first, first if config.second_view == "same" else second))
        turns = self.turns.draw(batch)
        turned = self.turns.apply(images, turns)
        features = self.encoder(self.cutout(batch, turned))
        for_rotation, for_contrast = self._read(features[self.level.name])

        logits = self.rotation(for_rotation).float()
        turns = turns.to(logits.device, non_blocking=True)
        rotation = functional.cross_entropy(logits, turns)
        inpainting = voxel_error(config.inpainting_loss, self.decoder(features), turned)
        one, other = self.contrast(for_contrast).chunk(2)
        contrast = nt_xent(one, other, config.tau)

        self._seen |= {
            "rotation_accuracy": (logits.detach().argmax(dim=1) == turns).float().mean(),
            "positive_cosine": contrast.positive,
            "negative_cosine": contrast.negative,
        }
        total = (
            config.lambda_rotation * rotation
            + config.lambda_inpainting * inpainting
            + config.lambda_contrast * contrast.loss
        )
        terms = {"rotation": rotation, "inpainting": inpainting, "contrast": contrast.loss}
        return Losses(total, terms)

    def _read(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return what rotation and contrast read of ``(2B, c, d, h, w)``, each ``(2B, c)``."""
        if self.config.pool == "mean":
            mean = feature.mean(dim=(2, 3, 4))
            return mean, mean
        tokens = feature.flatten(2)
        return tokens[..., 0], tokens[..., 1]

    def negatives(self, batch: int) -> int:
        """Return 2N - 2: both views of every other scan."""
        return 2 * (batch - 1)

    def watch(self) -> dict[str, float]:
        """Return the last step's share of turns told right, chance 0.25, and its mean cosines."""
        return {name: value.item() for name, value in self._seen.items()}
