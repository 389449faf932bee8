"""The 3-D U-Net encoder with group norm that paper 003 (BrainMVP) pretrains beside UniFormer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.networks.encoder import Encoder, Level, changed, hide_voxels

GROUPS = 8
"""Groups of channels that are normalised together."""


@dataclass(frozen=True)
class UNetConfig:
    """What distinguishes one U-Net encoder from another; defaults are paper 003's code."""

    width: int = 32
    """Channels at full resolution; every halving of the resolution doubles them."""
    blocks: tuple[int, ...] = (1, 2, 2, 4)
    """Residual blocks at strides 1, 2, 4, 8."""
    drop_path: float = 0.0
    """Chance to skip a residual branch in training, the same for every block."""


def unet3d(in_channels: int = 1, **options: Any) -> UNet:
    """U-Net encoder of paper 003's pretraining code."""
    return UNet(in_channels, changed("unet3d", UNetConfig(), options))


class UNet(Encoder):
    """Residual blocks with group norm, and 3^3 convolutions of stride 2 between resolutions.

    Levels ``stage2..N`` of strides 2, 4, ..., 2^(N-1). The map at full resolution is computed and
    not handed on. Names are those of the published code.
    """

    def __init__(self, in_channels: int, config: UNetConfig) -> None:
        """Build with torch's own initialisation, as published.

        Raises:
            BenchError: a width that does not split in groups, or a single resolution.
        """
        super().__init__()
        if config.width % GROUPS or len(config.blocks) < 2:
            raise BenchError(
                f"width {config.width} and blocks {config.blocks}: a multiple of {GROUPS} channels,"
                " and two resolutions or more"
            )
        self.in_channels = self.mask_channels = in_channels
        self.config = config
        widths = [config.width * 2**stage for stage in range(len(config.blocks))]
        self.levels = tuple(
            Level(f"stage{i + 1}", width, 2**i) for i, width in enumerate(widths) if i > 0
        )
        self.names: list[list[str]] = []
        for stage, (width, count) in enumerate(zip(widths, config.blocks, strict=True), start=1):
            if stage > 1:
                down = nn.Conv3d(width // 2, width, 3, stride=2, padding=1)
                self.add_module(f"ds{stage - 1}", down)
            # At full resolution conv1a is the convolution that takes the image.
            first = 1 if stage == 1 else 0
            names = [f"conv{stage}{chr(ord('a') + first + i)}" for i in range(count)]
            if stage == 1:
                self.conv1a = nn.Conv3d(in_channels, width, 3, padding=1)
            for name in names:
                self.add_module(name, ResidualBlock(width, config.drop_path))
            self.names.append(names)

    def forward(
        self, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode; every map is channels-last ``(B, c, d, h, w)``; a mask hides voxels."""
        volume = self.conv1a(hide_voxels(image, mask, mask_token))
        maps = {}
        for stage, names in enumerate(self.names):
            if stage:
                volume = self.get_submodule(f"ds{stage}")(volume)
            for name in names:
                volume = self.get_submodule(name)(volume)
            if stage:
                level = self.levels[stage - 1]
                maps[level.name] = volume.contiguous(memory_format=torch.channels_last_3d)
        return maps


class ResidualBlock(nn.Module):
    """Twice group norm, ReLU and a 3^3 convolution, plus what came in."""

    def __init__(self, width: int, drop_path: float) -> None:
        """Build for ``width`` channels in and out."""
        super().__init__()
        self.gn1 = nn.GroupNorm(GROUPS, width)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.gn2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        self.drop_path = DropPath(drop_path)

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, C, D, H, W)`` to the same shape."""
        inner = self.conv1(functional.relu(self.gn1(volume)))
        inner = self.conv2(functional.relu(self.gn2(inner)))
        return volume + self.drop_path(inner)
