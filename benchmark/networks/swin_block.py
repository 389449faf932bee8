"""Parts of a Swin encoder: transformer block, patch embedding and patch merging.

Module names are those of MONAI's ``SwinTransformer``, so that state dicts correspond.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.networks.attention import CosineAttention, WindowAttention
from medssl_bench.networks.windows import cut, partition, reverse

Version = Literal["v1", "v2"]

MERGE_ORDERS = {
    "monai": ("000", "100", "010", "001", "110", "101", "011", "111"),
    "monai_legacy": ("000", "100", "010", "001", "101", "010", "001", "111"),
    "monai_v2": ("000", "001", "010", "011", "100", "101", "110", "111"),
}
"""Order in which the eight neighbours are joined, each an offset along (D, H, W).

``monai``: ``PatchMerging`` since MONAI 1.5. ``monai_legacy``: before (1.4 and older), two
neighbours twice and two never; weights trained then want it still. ``monai_v2``:
``PatchMergingV2``.
"""


class SwinBlock(nn.Module):
    """Window attention and MLP with residuals: norms before them (V1) or after them (V2)."""

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        shifted: bool,
        qkv_bias: bool,
        drop_path: float,
        version: Version,
    ) -> None:
        """Build one block; ``drop_path`` is the chance to skip a residual branch in training."""
        super().__init__()
        self.window = window
        self.shifted = shifted
        self.version = version
        attention = WindowAttention if version == "v1" else CosineAttention
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention(dim, heads, window, qkv_bias)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        parts = [("linear1", nn.Linear(dim, 4 * dim)), ("fn", nn.GELU())]
        self.mlp = nn.Sequential(OrderedDict([*parts, ("linear2", nn.Linear(4 * dim, dim))]))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(B, D, H, W, C)`` to the same shape."""
        if self.version == "v1":
            tokens = tokens + self.drop_path(self._attend(self.norm1(tokens)))
            return tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        tokens = tokens + self.drop_path(self.norm1(self._attend(tokens)))
        return tokens + self.drop_path(self.norm2(self.mlp(tokens)))

    def _attend(self, tokens: Tensor) -> Tensor:
        d, h, w = tokens.shape[1:4]
        cutting = cut((d, h, w), self.window, self.shifted)
        return reverse(self.attn(partition(tokens, cutting), cutting), cutting)


class PatchEmbed(nn.Module):
    """Project non-overlapping 2^3 voxels to one token."""

    def __init__(self, in_channels: int, dim: int, norm: bool) -> None:
        """Build; ``norm`` adds a LayerNorm with weights."""
        super().__init__()
        self.proj = nn.Conv3d(in_channels, dim, kernel_size=2, stride=2)
        self.norm = nn.LayerNorm(dim) if norm else None

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, C, 2D, 2H, 2W)`` to tokens ``(B, D, H, W, dim)``."""
        b, c, d, h, w = image.shape
        rows = image.permute(0, 2, 3, 4, 1).reshape(b, d // 2, 2, h // 2, 2, w // 2, 2, c)
        voxels = rows.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)
        # A stride equal to the kernel makes the convolution a matrix product, channels last.
        weight = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)
        tokens = functional.linear(voxels, weight, self.proj.bias)
        return tokens if self.norm is None else self.norm(tokens)


class PatchMerging(nn.Module):
    """Join 2^3 neighbours and double the channels: norm then projection (V1), or reverse (V2)."""

    def __init__(self, dim: int, version: Version, order: str) -> None:
        """Build for ``dim`` channels; ``order`` is a key of :data:`MERGE_ORDERS`."""
        super().__init__()
        self.version = version
        self.order = tuple(int(place, 2) for place in MERGE_ORDERS[order])
        self.reduction = nn.Linear(8 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(8 * dim if version == "v1" else 2 * dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(B, D, H, W, C)`` to ``(B, ceil(D / 2), ceil(H / 2), ceil(W / 2), 2C)``."""
        d, h, w = tokens.shape[1:4]
        if d % 2 or h % 2 or w % 2:
            tokens = functional.pad(tokens, (0, 0, 0, w % 2, 0, h % 2, 0, d % 2))
        b, d, h, w, c = tokens.shape
        blocks = tokens.reshape(b, d // 2, 2, h // 2, 2, w // 2, 2, c)
        blocks = blocks.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, d // 2, h // 2, w // 2, 8, c)
        joined = torch.stack([blocks[..., place, :] for place in self.order], dim=-2).flatten(4)
        if self.version == "v1":
            return self.reduction(self.norm(joined))
        return self.norm(self.reduction(joined))
