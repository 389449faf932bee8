"""UniFormer in three dimensions, as BrainMVP (paper 003) pretrains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.networks.attention import split_heads
from medssl_bench.networks.convolutions import Pointwise
from medssl_bench.networks.depthwise import Depthwise
from medssl_bench.networks.encoder import Encoder, Level, changed, hide_voxels
from medssl_bench.networks.swin_block import PatchEmbed


@dataclass(frozen=True)
class UniFormerConfig:
    """What distinguishes one UniFormer from another; defaults are the small one of paper 003."""

    depths: tuple[int, ...] = (3, 4, 8, 3)
    """Blocks of each stage."""
    widths: tuple[int, ...] = (64, 128, 320, 512)
    """Channels of each stage; every stage halves the resolution before its blocks."""
    attends: tuple[bool, ...] = (False, False, True, True)
    """Whether a stage's blocks attend to the whole map, or convolve."""
    head_width: int = 64
    """Channels of an attention head."""
    drop_path: float = 0.0
    """Chance to skip a residual branch of the last block in training, rising linearly from 0."""


def uniformer3d(in_channels: int = 1, **options: Any) -> UniFormer:
    """UniFormer-Small of paper 003 (its code: ``uniformer_small``)."""
    return UniFormer(in_channels, changed("uniformer3d", UniFormerConfig(), options))


def uniformer_tiny(in_channels: int = 1, **options: Any) -> UniFormer:
    """One convolving and two attending stages, total stride 8: for 48^3 crops on two CPU cores."""
    config = UniFormerConfig((1, 2, 2), (32, 64, 128), (False, True, True), head_width=32)
    return UniFormer(in_channels, changed("uniformer_tiny", config, options))


class UniFormer(Encoder):
    """Stages of blocks that convolve, then of blocks that attend to everything at their resolution.

    Levels ``stage1..N`` of strides 2, 4, ..., 2^N; the coarsest goes through a batch norm at the
    end. Every stage starts with a 2^3 convolution of stride 2 and a LayerNorm. Names are those of
    the published code, whose first axis is S where ours is R: kernels of its weights have to be
    turned.
    """

    def __init__(self, in_channels: int, config: UniFormerConfig) -> None:
        """Build with the published initialisation.

        Raises:
            BenchError: stages do not have as many depths as widths, or heads of another width.
        """
        super().__init__()
        _check(config)
        self.in_channels = self.mask_channels = in_channels
        self.config = config
        stages = len(config.depths)
        self.levels = tuple(
            Level(f"stage{i}", width, 2**i) for i, width in enumerate(config.widths, start=1)
        )
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
        before = in_channels
        for stage in range(stages):
            width, depth = config.widths[stage], config.depths[stage]
            self.add_module(f"patch_embed{stage + 1}", PatchEmbed(before, width, norm=True))
            blocks = [
                AttentionBlock(width, width // config.head_width, rate)
                if config.attends[stage]
                else ConvolutionBlock(width, rate)
                for rate in rates[:depth]
            ]
            self.add_module(f"blocks{stage + 1}", nn.ModuleList(blocks))
            rates, before = rates[depth:], width
        self.norm = nn.BatchNorm3d(config.widths[-1])
        self.apply(_initialise)

    def forward(
        self, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode; every map is channels-last ``(B, c, d, h, w)``; a mask hides voxels."""
        volume = hide_voxels(image, mask, mask_token)
        maps = {}
        for stage, level in enumerate(self.levels, start=1):
            volume = self.get_submodule(f"patch_embed{stage}")(volume).permute(0, 4, 1, 2, 3)
            for block in self.get_submodule(f"blocks{stage}").children():
                volume = block(volume)
            maps[level.name] = volume
        maps[self.levels[-1].name] = self.norm(volume)
        return {
            name: features.contiguous(memory_format=torch.channels_last_3d)
            for name, features in maps.items()
        }


class ConvolutionBlock(nn.Module):
    """Position, local relations and MLP, all by convolution, on ``(B, C, D, H, W)``."""

    def __init__(self, width: int, drop_path: float) -> None:
        """Build; ``drop_path`` is the chance to skip a residual branch in training."""
        super().__init__()
        self.pos_embed = Depthwise(width, 3)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = Pointwise(width, width, bias=True)
        self.attn = Depthwise(width, 5)
        self.conv2 = Pointwise(width, width, bias=True)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = _Mlp(Pointwise(width, 4 * width, bias=True), Pointwise(4 * width, width, True))

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, C, D, H, W)`` to the same shape."""
        volume = volume + self.pos_embed(volume)
        local = self.conv2(self.attn(self.conv1(self.norm1(volume))))
        volume = volume + self.drop_path(local)
        return volume + self.drop_path(self.mlp(self.norm2(volume)))


class AttentionBlock(nn.Module):
    """Position by convolution, attention to every token of the map, and MLP."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        """Build; ``drop_path`` is the chance to skip a residual branch in training."""
        super().__init__()
        self.pos_embed = Depthwise(width, 3)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = GlobalAttention(width, heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(nn.Linear(width, 4 * width), nn.Linear(4 * width, width))

    def forward(self, volume: Tensor) -> Tensor:
        """Map ``(B, C, D, H, W)`` to the same shape."""
        volume = volume + self.pos_embed(volume)
        tokens = volume.permute(0, 2, 3, 4, 1).flatten(1, 3)
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens.unflatten(1, volume.shape[2:]).permute(0, 4, 1, 2, 3)


class GlobalAttention(nn.Module):
    """Multi-head self-attention among all tokens ``(B, n, C)``."""

    def __init__(self, width: int, heads: int) -> None:
        """Build for ``width`` channels."""
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend; ``softmax(q k^T / sqrt(head width)) v`` for each head."""
        q, k, v = split_heads(self.qkv(tokens), self.heads)
        attended = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    """Two layers with GELU between them, under the published names."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.fc1 = first
        self.fc2 = second

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(features)))


def _initialise(module: nn.Module) -> None:
    """Draw convolutions from a normal (Kaiming, fan out), biases 0; linear layers are torch's."""
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(config: UniFormerConfig) -> None:
    lengths = {len(config.depths), len(config.widths), len(config.attends)}
    if len(lengths) > 1:
        raise BenchError(
            f"depths {config.depths}, widths {config.widths} and attends {config.attends} differ in"
            " length"
        )
    for width, attends in zip(config.widths, config.attends, strict=True):
        if attends and width % config.head_width:
            raise BenchError(f"{width} channels do not split in heads of {config.head_width}")
