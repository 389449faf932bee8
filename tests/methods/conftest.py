"""A convolutional encoder of a few hundred weights, and what a method is fed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medssl_bench.method import Batch, Progress
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
    ) -> Batch:
        source = torch.Generator().manual_seed(1000 + step)
        shape = (samples, channels, side, side, side)
        crops = tuple(torch.rand(shape, generator=source) for _ in range(views))
        generators = tuple(torch.Generator().manual_seed(seed + i) for i in range(samples))
        return Batch(crops, Progress(step, steps), generators)

    return build
