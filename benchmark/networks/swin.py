"""3-D Swin encoders of paper 004 and of MONAI (facts and counts: docstrings of the builders)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.networks.convolutions import ResBlock
from medssl_bench.networks.encoder import Encoder, Level, changed, hide
from medssl_bench.networks.swin_block import (
    MERGE_ORDERS,
    PatchEmbed,
    PatchMerging,
    SwinBlock,
    Version,
)


@dataclass(frozen=True)
class SwinConfig:
    """What distinguishes one Swin encoder from another."""

    depths: tuple[int, ...]
    """Blocks of each stage."""
    heads: tuple[int, ...]
    """Attention heads of each stage."""
    width: int
    """Channels of the first stage; each merging doubles them."""
    window: int = 4
    """Side of a window in tokens."""
    qkv_bias: bool = False
    drop_path: float = 0.0
    """Chance to skip a residual branch of the last block in training, rising linearly from 0."""
    version: Version = "v1"
    """Attention and residuals of Swin V1 or V2."""
    patch_norm: bool = True
    stage_norm: bool = True
    """LayerNorm with weights on the ``stage`` levels (SMIT; its Swin V2 port has none)."""
    maps: Literal["stage", "merge"] = "stage"
    """``stage``: outputs of stages under LayerNorm, and raw mergings (SMIT). ``merge``: patch
    embedding and mergings, all under LayerNorm without weights (MONAI)."""
    merge_order: str = "monai"
    convolutions: bool = False
    """A residual convolution block before each stage (MONAI's ``use_v2``: SwinUNETR-V2)."""


SMIT = SwinConfig((2, 2, 8, 2), (4, 4, 8, 16), width=48, drop_path=0.3)
"""Paper 004's common encoder (section 3.3.1)."""
MONAI = SwinConfig(
    (2, 2, 2, 2), (3, 6, 12, 24), 48, window=7, qkv_bias=True, patch_norm=False, maps="merge"
)
"""MONAI's ``SwinUNETR`` with ``feature_size=48``, as its tutorials build it."""


def swin_65m(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """Paper 004's common encoder (64.70 M in its segmentor)."""
    return SwinEncoder(in_channels, changed("swin_65m", SMIT, options))


def swin_276m(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """Paper 004's SMITS (276.3 M in its segmentor)."""
    config = replace(SMIT, depths=(2, 2, 18, 2), width=96)
    return SwinEncoder(in_channels, changed("swin_276m", config, options))


def swin_586m(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """Paper 004's SMITp: Swin V2 (586.1 M in its segmentor)."""
    config = SwinConfig(
        depths=(2, 2, 40, 4),
        heads=(4, 8, 16, 32),
        width=128,
        qkv_bias=True,
        drop_path=0.1,
        version="v2",
        stage_norm=False,
    )
    return SwinEncoder(in_channels, changed("swin_586m", config, options))


def swin_monai(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """MONAI's ``SwinUNETR`` as it is since 1.5 (62.19 M)."""
    return SwinEncoder(in_channels, changed("swin_monai", MONAI, options))


def swin_monai_legacy(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """MONAI's ``SwinUNETR`` before 1.5, for weights that were trained with it."""
    config = replace(MONAI, merge_order="monai_legacy")
    return SwinEncoder(in_channels, changed("swin_monai_legacy", config, options))


def swin_voco(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """SwinUNETR-V2 of MONAI 1.3, which VoCo pretrains (VoCo:models/voco_head.py)."""
    config = replace(MONAI, merge_order="monai_legacy", convolutions=True)
    return SwinEncoder(in_channels, changed("swin_voco", config, options))


def swin_smit_ct(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """Network of SMIT's own release (SMIT:README.md, models/configs_Trans.py)."""
    config = replace(SMIT, depths=(2, 2, 4, 2), heads=(4, 4, 4, 4))
    return SwinEncoder(in_channels, changed("swin_smit_ct", config, options))


def swin_smit_heart(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """Network of SMIT-HeartSubSeg (HSS:models/configs_smit.py)."""
    config = replace(SMIT, depths=(2, 2, 12, 2), qkv_bias=True)
    return SwinEncoder(in_channels, changed("swin_smit_heart", config, options))


def swin_smit_lung(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """Network of MHub's lung tumour port of SMIT (MHub:smit_models/configs_smit.py)."""
    config = replace(SMIT, qkv_bias=True)
    return SwinEncoder(in_channels, changed("swin_smit_lung", config, options))


def swin_tiny(in_channels: int = 1, **options: Any) -> SwinEncoder:
    """Three stages, total stride 16: for 48^3 crops on two CPU cores."""
    config = SwinConfig((1, 2, 2), (1, 1, 2), width=16)
    return SwinEncoder(in_channels, changed("swin_tiny", config, options))


class SwinEncoder(Encoder):
    """Swin transformer over 2^3 patches with a merging after every stage.

    Levels, for ``maps="stage"``: ``stage1..N`` before each merging (strides 2, 4, 8, ...), then
    ``merge1..N`` after it (4, 8, 16, ...). For ``maps="merge"``: ``embed``, then ``merge1..N``.
    """

    def __init__(self, in_channels: int, config: SwinConfig) -> None:
        """Build with truncated normal weights (0.02), as Swin does."""
        super().__init__()
        _check(config)
        self.in_channels = in_channels
        self.config = config
        self.mask_channels = config.width
        self.patch_embed = PatchEmbed(in_channels, config.width, config.patch_norm)
        rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
        for stage, depth in enumerate(config.depths):
            if config.convolutions:
                width = config.width * 2**stage
                convolutions = nn.ModuleList([ResBlock(width, width, "instance")])
                self.add_module(f"layers{stage + 1}c", convolutions)
            # A list of one, so that names are MONAI's: layers1.0.blocks.0.attn ...
            self.add_module(
                f"layers{stage + 1}", nn.ModuleList([_Stage(config, stage, rates[:depth])])
            )
            rates = rates[depth:]
        widths = [config.width * 2**stage for stage in range(len(config.depths) + 1)]
        merges = [
            Level(f"merge{i}", width, 2 ** (i + 1)) for i, width in enumerate(widths) if i > 0
        ]
        if config.maps == "stage":
            kind = nn.LayerNorm if config.stage_norm else nn.Identity
            self.stage_norms = nn.ModuleList(kind(width) for width in widths[:-1])
            stages = [Level(f"stage{i + 1}", w, 2 ** (i + 1)) for i, w in enumerate(widths[:-1])]
            self.levels = (*stages, *merges)
        else:
            self.levels = (Level("embed", config.width, 2), *merges)
        self.final_norm = nn.LayerNorm(widths[-1]) if config.version == "v2" else None
        self.apply(initialise)
        if config.version == "v2":
            for block in self.blocks().values():
                # Residual branches start silent (Swin V2 for many blocks; SMITp of paper 004).
                for norm in (block.norm1, block.norm2):
                    nn.init.zeros_(norm.weight)

    def forward(
        self, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode; every map is a channels-last view ``(B, c, d, h, w)``."""
        tokens = self.patch_embed(image)
        if mask is not None:
            tokens = hide(tokens, mask, mask_token)
        maps: dict[str, Tensor] = {}
        if self.config.maps == "merge":
            maps["embed"] = _plain_norm(tokens)
        for index, stage in enumerate(self.stages()):
            if self.config.convolutions:
                convolve = getattr(self, f"layers{index + 1}c")[0]
                tokens = convolve(tokens.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
            tokens = stage.run(tokens)
            if self.config.maps == "stage":
                maps[f"stage{index + 1}"] = self.stage_norms[index](tokens)
            tokens = stage.downsample(tokens)
            merged = _plain_norm(tokens) if self.config.maps == "merge" else tokens
            maps[f"merge{index + 1}"] = merged
        if self.final_norm is not None:
            last = f"merge{len(self.config.depths)}"
            maps[last] = self.final_norm(maps[last])
        return {level.name: maps[level.name].permute(0, 4, 1, 2, 3) for level in self.levels}

    def stages(self) -> list[_Stage]:
        """Return the stages in order."""
        return [getattr(self, f"layers{i + 1}")[0] for i in range(len(self.config.depths))]

    def blocks(self) -> dict[str, SwinBlock]:
        """Return every transformer block by name; each puts out tokens ``(B, D, H, W, C)``."""
        return {
            f"stage{i + 1}.block{j + 1}": cast(SwinBlock, block)
            for i, stage in enumerate(self.stages())
            for j, block in enumerate(stage.blocks)
        }


class _Stage(nn.Module):
    """Blocks at one resolution and the merging after them."""

    def __init__(self, config: SwinConfig, stage: int, rates: list[float]) -> None:
        super().__init__()
        dim = config.width * 2**stage
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                config.heads[stage],
                config.window,
                shifted=index % 2 == 1,
                qkv_bias=config.qkv_bias,
                drop_path=rate,
                version=config.version,
            )
            for index, rate in enumerate(rates)
        )
        self.downsample = PatchMerging(dim, config.version, config.merge_order)

    def run(self, tokens: Tensor) -> Tensor:
        """Apply the blocks, without the merging."""
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def initialise(module: nn.Module) -> None:
    """Draw linear weights from a truncated normal of 0.02; biases 0, norms 1 and 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def _plain_norm(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:])


def _check(config: SwinConfig) -> None:
    if len(config.depths) != len(config.heads):
        raise BenchError(f"depths {config.depths} and heads {config.heads} differ in length")
    for stage, heads in enumerate(config.heads):
        if (config.width * 2**stage) % heads:
            raise BenchError(f"{config.width * 2**stage} channels do not split in {heads} heads")
    if config.merge_order not in MERGE_ORDERS:
        raise BenchError(f"merge_order {config.merge_order!r}: one of {', '.join(MERGE_ORDERS)}")
