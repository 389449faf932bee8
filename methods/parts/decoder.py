"""Rebuilding a crop from the coarsest features, and the error over all of its voxels."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.networks.convolutions import Conv3, InstanceNorm, Pointwise

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder, Level


class Decoder(nn.Module):
    """SwinUNETR's pretext decoder: up from one feature level without skips, dropped afterwards.

    For every doubling: a 3^3 convolution, instance norm, LeakyReLU (0.01), trilinear x2; at the end
    a 1^3 convolution to the channels of the crop. Widths are halved from that of the level down to
    a sixteenth of it: 768 -> 384 -> 192 -> 96 -> 48 -> 48 for stride 32 (SwinUNETR's pretraining
    code). The 3^3 convolutions have no bias, for the norm would take it away again.
    """

    def __init__(
        self, method: str, level: Level, channels: int, crop: tuple[int, int, int]
    ) -> None:
        """Build for ``method``; raises BenchError where level and ``crop`` (voxels) do not fit."""
        super().__init__()
        doublings = level.stride.bit_length() - 1
        if doublings < 1 or 2**doublings != level.stride:
            raise BenchError(
                f"{method}: its decoder doubles the resolution step by step, but this backbone's"
                f" coarsest stride is {level.stride}; choose another backbone"
            )
        if any(side % level.stride for side in crop):
            raise BenchError(
                f"{method}: crop {crop}: every side must be a multiple of {level.stride} voxels"
                " with this backbone; set another crop or backbone"
            )
        if all(side == level.stride for side in crop):
            raise BenchError(
                f"{method}: crop {crop} is a single token of this backbone, which instance norm"
                " would set to zero; double a side of the crop"
            )
        self.level = level
        narrowest = max(level.channels // 16, 1)
        widths = [max(level.channels // 2**step, narrowest) for step in range(doublings + 1)]
        self.convs = nn.ModuleList(Conv3(wide, narrow) for wide, narrow in pairwise(widths))
        self.norm = InstanceNorm()
        self.project = Pointwise(widths[-1], channels, bias=True)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Predict the crop ``(B, channels, D, H, W)``, in float32."""
        volume = features[self.level.name]
        for step, conv in enumerate(self.convs):
            if step:
                volume = _double(volume)
            volume = functional.leaky_relu(self.norm(conv(volume)), 0.01, inplace=True)
        # Weights of an interpolation sum to 1, so it may follow the 1^3 convolution as well as go
        # before it, and then has one channel to double instead of the narrowest width.
        return _double(self.project(volume).float())


class TransposedDecoder(nn.Module):
    """BrainMVP's pretext decoder: transposed convolutions alone, dropped afterwards.

    For every level of the encoder's pyramid from the coarsest, a 2^3 convolution of stride 2 to the
    width of the next finer one (512 -> 320 -> 128 -> 64, and 64 at full resolution), then a 1^3
    convolution to the crop's channels. Nothing lies between them and there are no skips, as in
    paper 003's code: what is rebuilt is linear in the coarsest features.
    """

    def __init__(self, method: str, encoder: Encoder, crop: tuple[int, int, int]) -> None:
        """Build for ``method``; raises BenchError where the encoder and ``crop`` do not fit."""
        super().__init__()
        pyramid = encoder.pyramid()
        strides = [level.stride for level in pyramid]
        if strides != [2 ** (i + 1) for i in range(len(pyramid))]:
            raise BenchError(
                f"{method}: its decoder doubles the resolution from level to level, but those of"
                f" this backbone have strides {strides}; choose another backbone"
            )
        if any(side % strides[-1] for side in crop):
            raise BenchError(
                f"{method}: crop {crop}: every side must be a multiple of {strides[-1]} voxels"
                " with this backbone; set another crop or backbone"
            )
        self.level = pyramid[-1]
        widths = [level.channels for level in reversed(pyramid)]
        widths.append(widths[-1])
        self.ups = nn.ModuleList(
            nn.ConvTranspose3d(wide, narrow, 2, stride=2, bias=False)
            for wide, narrow in pairwise(widths)
        )
        self.project = Pointwise(widths[-1], encoder.in_channels, bias=True)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Predict the crop ``(B, channels, D, H, W)``, in float32."""
        *early, last = self.ups
        volume = features[self.level.name]
        for up in early:
            volume = up(volume)
        # Both are linear, so the last two are one convolution, and the widest map is never made.
        weight = torch.einsum("oc,icxyz->ioxyz", self.project.weight.flatten(1), last.weight)
        return functional.conv_transpose3d(volume, weight, self.project.bias, stride=2).float()


def _double(volume: Tensor) -> Tensor:
    """Interpolate ``(B, C, D, H, W)`` to twice the resolution, in its own precision."""
    with torch.autocast(volume.device.type, enabled=False):  # the CPU's would turn to float32
        return functional.interpolate(volume, scale_factor=2, mode="trilinear")


def voxel_error(kind: Literal["l1", "l2"], prediction: Tensor, image: Tensor) -> Tensor:
    """Mean absolute (``l1``) or squared (``l2``) error over all voxels and channels, in float32."""
    error = functional.l1_loss if kind == "l1" else functional.mse_loss
    return error(prediction.float(), image.float())
