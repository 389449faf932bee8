"""What is put on an encoder during pretraining and dropped after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Level


class VoxelHead(nn.Module):
    """One 1x1x1 convolution from a feature level to the voxels under each token.

    ``stride^3 * channels`` outputs per token are rearranged to ``(B, channels, D, H, W)``
    (SimMIM's pixel shuffle in 3-D; SMIT's MIP head: 768 -> 32^3).
    """

    def __init__(self, level: Level, channels: int, crop: tuple[int, int, int]) -> None:
        """Raise BenchError where the level's stride does not divide ``crop`` (voxels)."""
        super().__init__()
        if any(side % level.stride for side in crop):
            raise BenchError(
                f"crop {crop}: every side must be a multiple of {level.stride} voxels with this"
                " backbone; set another crop or backbone"
            )
        self.level = level
        self.project = nn.Conv3d(level.channels, channels * level.stride**3, kernel_size=1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Predict the crop from the encoder's features."""
        side = self.level.stride
        return rearrange(
            self.project(features[self.level.name]),
            "b (c p q r) d h w -> b c (d p) (h q) (w r)",
            p=side,
            q=side,
            r=side,
        )


class ProjectionHead(nn.Module):
    """DINO's head: in -> hidden -> hidden -> bottleneck with GELU, L2 norm, ``last``.

    ``last`` is a bias-free linear layer whose rows are held at length 1, so its outputs are
    cosines; they are computed in float32, for they are divided by temperatures down to 0.04.
    """

    def __init__(self, channels: int, hidden: int, bottleneck: int, out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last = nn.Linear(bottleneck, out, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(..., channels)`` to logits ``(..., out)`` in [-1, 1]."""
        code = self.mlp(tokens)
        with torch.autocast(tokens.device.type, enabled=False):
            code = functional.normalize(code.float(), dim=-1)
            return functional.linear(code, functional.normalize(self.last.weight.float(), dim=-1))


class MeanHead(nn.Module):
    """One head on the mean of a feature map (DINO)."""

    outputs = ("global",)

    def __init__(self, channels: int, hidden: int, bottleneck: int, out: int) -> None:
        super().__init__()
        self.whole = ProjectionHead(channels, hidden, bottleneck, out)

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        """Project ``feature`` ``(B, c, d, h, w)`` to logits ``global`` ``(B, out)``."""
        return {"global": self.whole(feature.mean(dim=(2, 3, 4)))}


class TokenHeads(nn.Module):
    """LayerNorm over a feature map's tokens, and a head each for patches and their mean.

    ``shared``: both are the same head, as in iBOT's published runs.
    """

    outputs = ("patch", "global")

    def __init__(
        self, channels: int, hidden: int, bottleneck: int, out: int, shared: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.patch = ProjectionHead(channels, hidden, bottleneck, out)
        self.whole = self.patch if shared else ProjectionHead(channels, hidden, bottleneck, out)

    def forward(self, feature: Tensor, chosen: Tensor | None = None) -> dict[str, Tensor]:
        """Project ``feature`` ``(B, c, d, h, w)``.

        ``chosen`` ``(B, k)`` holds the flat indices of the tokens whose patch logits are wanted;
        None is all of them. The global token is always the mean over all.

        Returns:
            Logits ``patch`` ``(B, k, out)`` and ``global`` ``(B, out)``.
        """
        tokens = self.norm(feature.flatten(2).transpose(1, 2))
        mean = tokens.mean(dim=1)
        if chosen is not None:
            tokens = tokens.take_along_dim(chosen.unsqueeze(-1), dim=1)
        return {"patch": self.patch(tokens), "global": self.whole(mean)}
