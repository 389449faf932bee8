"""Convolutional parts of the decoder; module names are those of MONAI's ``UnetResBlock``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResBlock(nn.Module):
    """conv 3^3 - norm - LeakyReLU - conv 3^3 - norm, plus a shortcut, then LeakyReLU (0.01)."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        """Build; the shortcut is a 1^3 convolution with norm where channels change."""
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = make_norm(norm, out_channels)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = make_norm(norm, out_channels)
        self.conv3: nn.Conv3d | None = None
        self.norm3: nn.Module | None = None
        if in_channels != out_channels:
            self.conv3 = nn.Conv3d(in_channels, out_channels, 1, bias=False)
            self.norm3 = make_norm(norm, out_channels)

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, in, D, H, W)`` to ``(B, out, D, H, W)``."""
        inner = functional.leaky_relu(self.norm1(self.conv1(volume)), 0.01, inplace=True)
        inner = self.norm2(self.conv2(inner))
        if self.conv3 is not None and self.norm3 is not None:
            volume = self.norm3(self.conv3(volume))
        return functional.leaky_relu(inner + volume, 0.01, inplace=True)


class UpBlock(nn.Module):
    """Double the resolution by a transposed convolution, join the skip, then a residual block."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        """Build; the skip has ``out_channels`` channels."""
        super().__init__()
        self.transp_conv = nn.ConvTranspose3d(in_channels, out_channels, 2, stride=2, bias=False)
        self.conv_block = ResBlock(2 * out_channels, out_channels, norm)

    def forward(self, volume: Tensor, skip: Tensor) -> Tensor:
        """Map ``(B, in, D, H, W)`` and its skip to ``(B, out, 2D, 2H, 2W)``."""
        return self.conv_block(torch.cat((self.transp_conv(volume), skip), dim=1))


class InstanceNorm(nn.Module):
    """Instance norm without weights that keeps dtype and channels-last layout."""

    def __init__(self, channels: int) -> None:
        """Build; ``channels`` is the number of groups."""
        super().__init__()
        self.channels = channels

    def forward(self, volume: Tensor) -> Tensor:
        """Normalise each channel of each sample, ``(B, C, D, H, W)``."""
        return functional.group_norm(volume, self.channels, eps=1e-5)


def make_norm(kind: str, channels: int) -> nn.Module:
    """Return ``batch`` norm with weights or ``instance`` norm without."""
    return nn.BatchNorm3d(channels) if kind == "batch" else InstanceNorm(channels)
