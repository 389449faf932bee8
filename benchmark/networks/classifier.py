"""The network that classifies whole volumes: an encoder, its mean features and a linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from medssl_bench.networks.encoder import Encoder
from medssl_bench.networks.segmentor import check_sides


class Classifier(nn.Module):
    """Class logits of the coarsest level's features, normalised and averaged over the volume.

    The head of Swin (Liu et al., ICCV 2021): LayerNorm, mean over tokens, linear. Papers 001 and
    003 do not describe theirs in three dimensions beyond a pooled feature and linear layers.
    """

    def __init__(self, encoder: Encoder, classes: int) -> None:
        """Build around ``encoder``; the linear layer starts from a normal of 0.02 and zero."""
        super().__init__()
        self.encoder = encoder
        level = encoder.levels[-1]
        self.level = level.name
        self.norm = nn.LayerNorm(level.channels)
        self.head = nn.Linear(level.channels, classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(B, K)`` of an image ``(B, C, D, H, W)``.

        Raises:
            BenchError: A side is no multiple of the encoder's total stride.
        """
        check_sides(self.encoder, image)
        features = self.encoder(image)[self.level]
        tokens = self.norm(features.flatten(2).transpose(1, 2))
        logits: Tensor = self.head(tokens.mean(1))
        return logits
