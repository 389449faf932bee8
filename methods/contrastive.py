"""Contrastive: two crops of a scan look alike, crops of different scans do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Losses, Method, Requires
from medssl_bench.methods.parts.contrast import nt_xent

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder


class Contrastive(Method):
    r"""InfoNCE between two crops of each scan of a batch.

    With :math:`v_i` the projected mean of the coarsest feature level over a crop, and
    :math:`v_j` that of the other crop of its scan, averaged over the 2N crops of N scans:

    .. math:: L = -\log \frac{\exp(sim(v_i, v_j) / t)}
        {\sum_{k=1}^{2N} 1_{[k \ne i]} \exp(sim(v_i, v_k) / t)}

    (paper 004, section 3.2, item 4); :math:`sim` is the cosine, and the N scans are those of all
    processes. The projection, one linear layer, and t are those of SwinUNETR's pretraining code,
    which the paper cites. That code projects the second token of the feature level where this
    takes the mean, which sees the whole crop, and its two views are one crop, differently turned
    and cut, where paper 004 takes two crops of the scan.
    """

    family = "contrastive"
    reference = "Chen et al., SimCLR, ICML 2020 (arXiv:2002.05709), as in SwinUNETR"
    version = 1
    requires = Requires(views=2, min_batch=2)

    @dataclass(frozen=True)
    class Config(Method.Config):
        """Hyper-parameters; SwinUNETR's pretraining code."""

        out: int = 512
        """Length of a projected feature."""
        tau: float = 0.5
        """Temperature t."""

    config: Config

    def __init__(self, encoder: Encoder, config: Config, crop: tuple[int, int, int]) -> None:
        """Raise BenchError for a temperature that is not above 0."""
        super().__init__(encoder, config, crop)
        if not config.tau > 0:
            raise BenchError(f"contrastive: tau={config.tau} must be above 0")
        self.level = encoder.levels[-1]
        self.head = nn.Linear(self.level.channels, config.out)
        self._seen: dict[str, Tensor] = {}

    def forward(self, batch: Batch) -> Losses:
        """Return the loss of the two views of each scan."""
        features = self.encoder(torch.cat(batch.views))[self.level.name]
        first, second = self.head(features.mean(dim=(2, 3, 4))).chunk(2)
        contrast = nt_xent(first, second, self.config.tau)
        self._seen |= {"positive_cosine": contrast.positive, "negative_cosine": contrast.negative}
        return Losses(contrast.loss, {"nt_xent": contrast.loss})

    def negatives(self, batch: int) -> int:
        """Return 2N - 2: both views of every other scan."""
        return 2 * (batch - 1)

    def watch(self) -> dict[str, float]:
        """Return the last step's mean cosines; both near 1 mean that all crops look alike."""
        return {name: value.item() for name, value in self._seen.items()}
