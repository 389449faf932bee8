"""A convolutional encoder of a few hundred weights, and what a method is fed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.method import Batch, Progress
from medssl_bench.methods.parts.decoder import Decoder
from medssl_bench.networks.encoder import Encoder, Level


class TinyEncoder(Encoder):
    """Strides 2, 16 and 32; masks its stride-2 tokens; dropout on demand."""

    def __init__(self, channels: int = 1, drop: float = 0.0) -> None:
        super().__init__()
        self.in_channels = channels
        self.mask_channels = 4
        self.levels = (Level("fine", 4, 2), Level("tokens", 6, 16), Level("deep", 8, 32))
        self.fine = nn.Conv3d(channels, 4, 2, 2)
        self.norm = nn.BatchNorm3d(4)
        self.drop = nn.Dropout(drop)
        self.tokens = nn.Conv3d(4, 6, 8, 8)
        self.deep = nn.Conv3d(6, 8, 2, 2)

    def forward(
        self, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> dict[str, Tensor]:
        fine = self.fine(image)
        if mask is not None:
            assert mask_token is not None
            times = fine.shape[-1] // mask.shape[-1]
            block = torch.ones(times, times, times, dtype=fine.dtype)
            hidden = torch.kron(mask.to(fine.dtype), block).unsqueeze(1)
            fine = fine * (1 - hidden) + mask_token.view(1, -1, 1, 1, 1) * hidden
        tokens = torch.tanh(self.tokens(self.drop(torch.tanh(self.norm(fine)))))
        return {"fine": fine, "tokens": tokens, "deep": self.deep(tokens)}


@pytest.fixture
def tiny_encoder() -> Callable[..., TinyEncoder]:
    def build(seed: int = 0, **settings: float) -> TinyEncoder:
        torch.manual_seed(seed)
        return TinyEncoder(**settings)  # type: ignore[arg-type]

    return build


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    def build(
        views: int = 1,
        samples: int = 2,
        side: int = 32,
        seed: int = 0,
        step: int = 0,
        steps: int = 500,
        channels: int = 1,
        grain: int = 1,
    ) -> Batch:
        """Crops of random cubes of ``grain`` voxels; coarse ones tell an encoder's tokens apart."""
        source = torch.Generator().manual_seed(1000 + step)
        cubes = side // grain
        shape = (samples, channels, cubes, cubes, cubes)
        crops = tuple(torch.rand(shape, generator=source) for _ in range(views))
        for axis in (2, 3, 4):
            crops = tuple(crop.repeat_interleave(grain, dim=axis) for crop in crops)
        generators = tuple(torch.Generator().manual_seed(seed + i) for i in range(samples))
        return Batch(crops, Progress(step, steps), generators)

    return build


@pytest.fixture
def rebuild() -> Callable[[Decoder, Tensor], Tensor]:
    """SwinUNETR's decoder as published, step by step, from a decoder's weights alone."""

    def of(decoder: Decoder, volume: Tensor) -> Tensor:
        for conv in decoder.convs:
            volume = functional.conv3d(volume, conv.weight, padding=1)
            mean = volume.mean(dim=(2, 3, 4), keepdim=True)
            variance = (volume - mean).square().mean(dim=(2, 3, 4), keepdim=True)
            volume = (volume - mean) / (variance + 1e-5).sqrt()
            volume = torch.where(volume > 0, volume, 0.01 * volume)
            volume = functional.interpolate(volume, scale_factor=2, mode="trilinear")
        return functional.conv3d(volume, decoder.project.weight, decoder.project.bias)

    return of
