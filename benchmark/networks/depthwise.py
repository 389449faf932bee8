"""A convolution of each channel for itself in three dimensions, with fast gradients on the CPU.

oneDNN computes the forward pass of such a convolution by a kernel made for it, but its gradients by
those for full convolutions, channel by channel (3.12): from 16 to 34 times the forward pass in all.
Both gradients are sums that kernels made for it compute as well:

- to the volume, the same convolution of the outgoing gradient with the mirrored weight;
- to the weight, for each place along D, that of a 2-D convolution of all slices, a few columns of
  the weight at a time. Its kernel adds up all voxels in one float32 number for each weight, which
  rounds more: 6e-6 of the gradient's norm at 48^3 voxels of noise, against 3e-7.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

WIDEST = 3
"""Columns of a 2-D weight up to which oneDNN has a kernel for its gradient; rows may be more."""


class Depthwise(nn.Conv3d):
    """A convolution of each channel for itself that keeps the size, channels-last."""

    def __init__(self, width: int, side: int) -> None:
        """Build with the parameters of ``nn.Conv3d``; kernels have ``side`` voxels on each axis."""
        super().__init__(width, width, side, padding=side // 2, groups=width)

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, C, D, H, W)`` to the same shape."""
        if volume.device.type != "cpu":
            return super().forward(volume)
        assert self.bias is not None  # as it is built
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            precision = torch.get_autocast_dtype("cpu")
            volume, weight, bias = (each.to(precision) for each in (volume, weight, bias))
        convolved: Tensor = _Depthwise.apply(volume, weight, bias)
        return convolved


class _Depthwise(torch.autograd.Function):
    """Convolve ``(B, C, D, H, W)`` with ``(C, 1, k, k, k)``, k odd, and add a bias ``(C,)``."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
        ctx.save_for_backward(volume, weight)
        return _convolve(volume, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        volume, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last_3d)
        to_volume = _convolve(grad, weight.flip(2, 3, 4)) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(volume, grad, weight) if ctx.needs_input_grad[1] else None
        to_bias = grad.sum((0, 2, 3, 4)) if ctx.needs_input_grad[2] else None
        return to_volume, to_weight, to_bias


def _convolve(volume: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    side, channels = weight.shape[-1], len(weight)
    return functional.conv3d(volume, weight, bias, padding=side // 2, groups=channels)


def _weight_gradient(volume: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient ``(C, 1, k, k, k)``; volume and grad are channels-last."""
    channels, side, reach = len(weight), weight.shape[-1], weight.shape[-1] // 2
    depth = volume.shape[2]
    precision = torch.promote_types(weight.dtype, torch.float32)
    total = torch.zeros(weight.shape, dtype=precision, device=weight.device)
    for first in range(0, side, WIDEST):
        width = min(WIDEST, side - first)
        # Shifted, so that the first of these columns meets voxel 0 of W; margins of D are slices.
        margins = (0, 0, reach - first, first + width - 1 - reach, 0, 0, reach, reach)
        for rows, out in zip(volume.permute(0, 2, 3, 4, 1), grad.transpose(1, 2), strict=True):
            slices = functional.pad(rows, margins).permute(0, 3, 1, 2)
            for place in range(side):
                total[:, :, place, :, first : first + width] += conv2d_weight(
                    slices[place : place + depth],
                    (channels, 1, side, width),
                    out,
                    padding=(reach, 0),
                    groups=channels,
                )
    return total.to(weight.dtype)
