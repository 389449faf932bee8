"""Convolutional parts of the decoder; module names are those of MONAI's ``UnetResBlock``.

Volumes are ``(B, C, D, H, W)`` laid out channels-last, so that a permuted view is a table of rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.networks import upsampling

EPSILON = 1e-5
"""Added to variances, as batch and instance norm do by default."""


class ResBlock(nn.Module):
    """conv 3^3 - norm - LeakyReLU - conv 3^3 - norm, plus a shortcut, then LeakyReLU (0.01)."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        """Build; the shortcut is a 1^3 convolution with norm where channels change."""
        super().__init__()
        self.conv1 = Conv3(in_channels, out_channels)
        self.norm1 = make_norm(norm, out_channels)
        self.conv2 = Conv3(out_channels, out_channels)
        self.norm2 = make_norm(norm, out_channels)
        self.conv3: nn.Conv3d | None = None
        self.norm3: nn.Module | None = None
        if in_channels != out_channels:
            self.conv3 = Pointwise(in_channels, out_channels, bias=False)
            self.norm3 = make_norm(norm, out_channels)

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, in, D, H, W)`` to ``(B, out, D, H, W)``."""
        return self.finish(self.conv1(volume), volume if self.conv3 is None else self.conv3(volume))

    def finish(self, inner: Tensor, shortcut: Tensor) -> Tensor:
        """Go on from the outputs of the first convolution and of the shortcut's."""
        inner = functional.leaky_relu(self.norm1(inner), 0.01, inplace=True)
        inner = self.norm2(self.conv2(inner))
        if self.norm3 is not None:
            shortcut = self.norm3(shortcut)
        return functional.leaky_relu(inner + shortcut, 0.01, inplace=True)


class UpBlock(nn.Module):
    """Double the resolution by a transposed convolution, join the skip, then a residual block."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        """Build; the skip has ``out_channels`` channels."""
        super().__init__()
        self.transp_conv = nn.ConvTranspose3d(in_channels, out_channels, 2, stride=2, bias=False)
        self.conv_block = ResBlock(2 * out_channels, out_channels, norm)

    def forward(self, volume: Tensor, skip: Tensor) -> Tensor:
        """Map ``(B, in, D, H, W)`` and its skip to ``(B, out, 2D, 2H, 2W)``."""
        if upsampling.saves(volume, self.transp_conv.out_channels):
            return self.conv_block.finish(*self._unjoined(volume, skip))
        joined: Tensor = self.conv_block(self._join(volume, skip))
        return joined

    def _join(self, volume: Tensor, skip: Tensor) -> Tensor:
        """Return the doubled volume and its skip beside each other, ``(B, 2 out, 2D, 2H, 2W)``."""
        b, _, d, h, w = volume.shape
        # A stride equal to the kernel makes the transposed convolution a matrix product; its rows
        # are written straight into the joined volume.
        weight = self.transp_conv.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        rows = functional.linear(volume.permute(0, 2, 3, 4, 1), weight)
        rows = rows.view(b, d, h, w, 2, 2, 2, -1).permute(0, 1, 4, 2, 5, 3, 6, 7)
        beside = skip.permute(0, 2, 3, 4, 1).to(rows.dtype).view(*rows.shape)
        joined = torch.cat((rows, beside), dim=-1).view(b, 2 * d, 2 * h, 2 * w, -1)
        return joined.permute(0, 4, 1, 2, 3)

    def _unjoined(self, volume: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the block's first convolution and its shortcut make of the joined volume.

        Both are linear, so each is the sum of its doubled volume's and its skip's half.
        """
        assert self.conv_block.conv3 is not None  # channels always change: 2 out to out
        up, middle = self.transp_conv.weight, self.transp_conv.out_channels
        of_up, of_skip = self.conv_block.conv1.weight.split(middle, dim=1)
        inner = convolve3(skip, of_skip)
        inner = upsampling.add_convolved(inner, volume, up, of_up)
        of_up, of_skip = self.conv_block.conv3.weight.split(middle, dim=1)
        shortcut = convolve1(skip, of_skip)
        return inner, upsampling.add_pointwise(shortcut, volume, up, of_up)


class Conv3(nn.Conv3d):
    """A 3^3 convolution without bias that keeps the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build with the parameters of ``nn.Conv3d``."""
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1, bias=False)

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, in, D, H, W)`` to ``(B, out, D, H, W)``."""
        return convolve3(volume, self.weight)


def convolve3(volume: Tensor, weight: Tensor) -> Tensor:
    """Convolve ``(B, in, D, H, W)`` with ``(out, in, 3, 3, 3)``, padded to keep the size."""
    rows = volume.permute(0, 2, 3, 4, 1).contiguous()
    if not _left_to_the_slow_kernel(rows):
        return functional.conv3d(rows.permute(0, 4, 1, 2, 3), weight, padding=1)
    # Two overlapping halves along D, as a batch of two.
    depth = rows.shape[1]
    half = (depth + 1) // 2
    rows = functional.pad(rows, (0, 0, 0, 0, 0, 0, 1, 1 + depth % 2))
    halves = torch.cat((rows[:, : half + 2], rows[:, half:])).permute(0, 4, 1, 2, 3)
    out = functional.conv3d(halves, weight, padding=(0, 1, 1)).permute(0, 2, 3, 4, 1)
    return out.reshape(1, 2 * half, *out.shape[2:])[:, :depth].permute(0, 4, 1, 2, 3)


def _left_to_the_slow_kernel(rows: Tensor) -> bool:
    """Tell whether torch would not give this convolution of ``(B, D, H, W, C)`` to oneDNN.

    On the CPU in float32 it does not for a batch of one with ``C D H`` of 20480 or less (torch
    2.14, ``ConvParams::use_mkldnn``), which took 5 times longer at 16 channels and 24^3 voxels.
    Below about 1000 voxels weights outweigh voxels and nothing is gained.
    """
    batch, depth, height, width, channels = rows.shape
    small = batch == 1 and channels * depth * height <= 20480 and depth * height * width >= 1000
    return small and rows.device.type == "cpu" and rows.dtype == torch.float32


class Pointwise(nn.Conv3d):
    """A 1^3 convolution computed as a matrix product of channels-last rows."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        """Build with the parameters of ``nn.Conv3d``."""
        super().__init__(in_channels, out_channels, kernel_size=1, bias=bias)

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, in, D, H, W)`` to ``(B, out, D, H, W)``."""
        return convolve1(volume, self.weight, self.bias)


def convolve1(volume: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve ``(B, in, D, H, W)`` with ``(out, in, 1, 1, 1)``."""
    rows = functional.linear(volume.permute(0, 2, 3, 4, 1), weight.flatten(1), bias)
    return rows.permute(0, 4, 1, 2, 3)


class InstanceNorm(nn.Module):
    """Instance norm without weights that keeps dtype and channels-last layout.

    Not ``torch.nn.InstanceNorm3d``: that copies to channels-first, and in torch 2.14 returns wrong
    gradients on the CPU for a batch of one when the incoming gradient is channels-last.
    """

    def forward(self, volume: Tensor) -> Tensor:
        """Normalise each channel of each sample, ``(B, C, D, H, W)``."""
        normed: Tensor = _InstanceNorm.apply(volume)
        return normed


class _InstanceNorm(torch.autograd.Function):
    """Batch norm of one sample at a time, whose kernels read channels-last rows."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor) -> Tensor:
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
        parts = [
            torch.native_batch_norm(sample, None, None, None, None, True, 0.0, EPSILON)
            for sample in volume.split(1)
        ]
        normed, means, scales = (list(values) for values in zip(*parts, strict=True))
        ctx.save_for_backward(volume, *means, *scales)
        return normed[0] if len(normed) == 1 else torch.cat(normed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        volume, *saved = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last_3d)
        count = volume.shape[0]
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                grad[i : i + 1],
                volume[i : i + 1],
                None,
                None,
                None,
                saved[i],
                saved[count + i],
                True,
                EPSILON,
                [True, False, False],
            )[0]
            for i in range(count)
        ]
        return parts[0] if count == 1 else torch.cat(parts)


def make_norm(kind: str, channels: int) -> nn.Module:
    """Return ``batch`` norm with weights or ``instance`` norm without."""
    return nn.BatchNorm3d(channels) if kind == "batch" else InstanceNorm()
