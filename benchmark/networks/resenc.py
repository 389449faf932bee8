"""nnU-Net's residual encoder, as nnssl (OpenMind) pretrains it.

The network is built by ``dynamic_network_architectures``, which comes with the extra ``nnunet``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medssl_bench.errors import BenchError
from medssl_bench.networks.convert import ALIAS
from medssl_bench.networks.convolutions import InstanceNorm
from medssl_bench.networks.encoder import Encoder, Level, changed

if TYPE_CHECKING:
    from torch.nn.modules.module import _IncompatibleKeys


@dataclass(frozen=True)
class ResEncConfig:
    """What distinguishes one residual encoder from another."""

    widths: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    """Channels of each stage; the first is at full resolution, each further one halves it."""
    blocks: tuple[int, ...] = (1, 3, 4, 6, 6, 6)
    """Residual blocks of each stage."""
    drop_path: float = 0.0
    """Chance to skip a residual branch in training, the same for every block."""

    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments (defaults: nnssl:architectures/architecture_registry.py).

        They make the encoder of ``ResidualEncoderUNet`` and, with classes and a decoder's depth,
        the whole network.
        """
        stages = len(self.widths)
        return {
            "n_stages": stages,
            "features_per_stage": list(self.widths),
            "conv_op": nn.Conv3d,
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_blocks_per_stage": list(self.blocks),
            "conv_bias": True,
            "norm_op": nn.InstanceNorm3d,
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": nn.LeakyReLU,
            "nonlin_kwargs": {"inplace": True},
        }


def resenc_l(in_channels: int = 1, **options: Any) -> ResEncoder:
    """ResEnc-L of nnU-Net and nnssl (90.3 M)."""
    return ResEncoder(in_channels, changed("resenc_l", ResEncConfig(), options))


class ResEncoder(Encoder):
    """Stem and stages of ``ResidualEncoder``; levels ``stage1..N`` of strides 2, 4, ..., 2^N.

    The stage at full resolution is computed and not handed on. The state dict has nnssl's names
    without ``encoder.``, and each tensor once.
    """

    def __init__(self, in_channels: int, config: ResEncConfig) -> None:
        """Build with nnU-Net's initialisation.

        Raises:
            BenchError: the library is not installed.
        """
        super().__init__()
        try:
            from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
            from dynamic_network_architectures.building_blocks.residual_encoders import (
                ResidualEncoder,
            )
        except ImportError:
            raise BenchError(
                "backbone resenc_l needs dynamic_network_architectures, which comes with nnU-Net:"
                " pip install 'medssl-bench[nnunet]'"
            ) from None
        arguments = config.arguments() | {"norm_op": AffineInstanceNorm, "norm_op_kwargs": {}}
        network = ResidualEncoder(
            in_channels, return_skips=True, stochastic_depth_p=config.drop_path, **arguments
        )
        network.apply(ResidualEncoderUNet.initialize)
        self.in_channels = in_channels
        self.config = config
        self.stem = network.stem
        self.stages = network.stages
        self.levels = tuple(
            Level(f"stage{i}", width, 2**i) for i, width in enumerate(config.widths) if i > 0
        )
        self.register_state_dict_post_hook(_drop_aliases)
        self.register_load_state_dict_post_hook(_forgive_aliases)

    def forward(
        self, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode; every map is channels-last ``(B, c, d, h, w)``.

        Raises:
            BenchError: a mask; convolutions have no tokens to hide.
        """
        if mask is not None:
            raise BenchError("a residual encoder cannot mask its input")
        volume = self.stem(image)
        maps = {}
        for number, stage in enumerate(self.stages):
            volume = stage(volume)
            if number:
                maps[f"stage{number}"] = volume.contiguous(memory_format=torch.channels_last_3d)
        return maps


class AffineInstanceNorm(InstanceNorm):
    """Instance norm with weights, named as ``torch.nn.InstanceNorm3d`` names them."""

    def __init__(self, channels: int) -> None:
        """Start as the plain norm."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, volume: Tensor) -> Tensor:
        """Normalise each channel of each sample, ``(B, C, D, H, W)``."""
        normed = super().forward(volume)
        weight, bias = self.weight.to(normed.dtype), self.bias.to(normed.dtype)
        return torch.addcmul(bias.view(-1, 1, 1, 1), normed, weight.view(-1, 1, 1, 1))


def _drop_aliases(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Mapping[str, Any]
) -> None:
    for name in [name for name in state if name.startswith(prefix) and ALIAS in name]:
        del state[name]


def _forgive_aliases(module: nn.Module, keys: _IncompatibleKeys) -> None:
    keys.missing_keys[:] = [name for name in keys.missing_keys if ALIAS not in name]
