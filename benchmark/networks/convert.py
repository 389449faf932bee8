"""Weights in other layouts: MONAI's SwinUNETR, SMIT's networks, nnU-Net's residual encoder.

MONAI's names differ from ours only by its wrappers (``swinViT``, ``layer.``, ``.conv``), and MONAI
also stores a constant, ``relative_position_index``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from medssl_bench.errors import BenchError
from medssl_bench.networks.swin_block import MERGE_ORDERS
from medssl_bench.networks.windows import relative_index

State = Mapping[str, Tensor]

ALIAS = ".all_modules."
"""nnU-Net's networks hold each layer of a convolution block twice: by its name and in this list."""
_INDEX = "attn.relative_position_index"
_TABLE = "attn.relative_position_bias_table"
_SMIT_ORDER = ("000", "100", "010", "001", "110", "011", "101", "111")
"""Order in which SMIT's merging joins the eight neighbours (SMIT:models/Trans.py, PatchMerging)."""


def from_monai(state: State) -> dict[str, Tensor]:
    """Rename a MONAI state to ours.

    Takes a whole ``SwinUNETR`` (to a :class:`Segmentor`'s names), a bare ``SwinTransformer``, or
    the public self-supervised checkpoints: ``model_swinvit.pt`` (names under ``module.``, MLP
    ``fc1`` and ``fc2``) and the one of disrupted autoencoders (``encoder.layers1.0.0.``). What is
    no part of a Swin encoder there (pretext heads) keeps its name, so that the report shows it.
    """
    whole = any(name.startswith("swinViT.") for name in state)
    renamed = {}
    for name, tensor in state.items():
        if not name.endswith(_INDEX):
            renamed[_segmentor_name(name) if whole else _encoder_name(name)] = tensor
    return renamed


def to_monai(state: State) -> dict[str, Tensor]:
    """Rename the state of a :class:`Segmentor` (or of its encoder alone) to MONAI's names.

    The result loads strictly into a ``SwinUNETR`` (``SwinTransformer``) built with the same widths,
    depths, heads, window and norm.
    """
    whole = any(name.startswith("encoder.") for name in state)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("encoder."):
            name = "swinViT." + name.removeprefix("encoder.")
        elif whole:
            name = re.sub(r"^(encoder\d+)\.", r"\1.layer.", name)
            name = re.sub(r"(conv[123]|transp_conv)\.(weight|bias)$", r"\1.conv.\2", name)
            name = re.sub(r"^out\.", "out.conv.conv.", name)
        name = re.sub(r"(layers\dc\.0)\.(conv\d)\.", r"\1.layer.\2.conv.", name)
        renamed[name] = tensor
        if name.endswith(_TABLE):
            side = round(tensor.shape[0] ** (1 / 3)) // 2 + 1
            renamed[name.replace(_TABLE, _INDEX)] = relative_index(side).clone()
    return renamed


def from_smit(state: State) -> dict[str, Tensor]:
    """Rename a SMIT encoder (Swin V1, or SMIT+'s V2) to ours.

    Its merging joins the neighbours in an order of its own; the merging's weights are permuted to
    the order ``monai``, which makes the same network.
    """
    renamed = {}
    for name, tensor in state.items():
        if name.endswith(_INDEX):
            continue
        merging, found, _ = name.partition(".downsample.")
        if found:
            joined = state[f"{merging}.downsample.reduction.weight"].shape[1]
            if tensor.shape[-1] == joined:  # V2's norm comes after the projection
                tensor = _reorder(tensor, _SMIT_ORDER, MERGE_ORDERS["monai"])
        name = re.sub(r"^layers\.(\d+)\.", lambda found: f"layers{int(found[1]) + 1}.0.", name)
        name = re.sub(r"^norm(\d+)\.", r"stage_norms.\1.", name)
        name = re.sub(r"^norm\.", "final_norm.", name)
        renamed[_linear(name)] = tensor
    return renamed


def _reorder(tensor: Tensor, given: tuple[str, ...], wanted: tuple[str, ...]) -> Tensor:
    """Permute the eight neighbours that are joined along the last axis."""
    parts = tensor.chunk(8, dim=-1)
    return torch.cat([parts[given.index(place)] for place in wanted], dim=-1)


def from_residual(state: State) -> dict[str, Tensor]:
    """Take a ``ResidualEncoder`` of nnU-Net: one name for each tensor, and our axes.

    nnU-Net lists every layer twice, and its arrays are SimpleITK's, with axes S, A, R; ours are
    R, A, S. With its kernels transposed the network sees of a scan stored in RAS what it saw there;
    nnU-Net does not turn scans that are stored otherwise.
    """
    return {name: swap_axes(tensor) for name, tensor in state.items() if ALIAS not in name}


def swap_axes(tensor: Tensor) -> Tensor:
    """Transpose kernels ``(out, in, x, y, z)`` to ``(out, in, z, y, x)``; others stay."""
    return tensor.permute(0, 1, 4, 3, 2).contiguous() if tensor.ndim == 5 else tensor


def _segmentor_name(name: str) -> str:
    if name.startswith("swinViT."):
        return "encoder." + _plain_convolution(name.removeprefix("swinViT."))
    name = re.sub(r"^(encoder\d+)\.layer\.", r"\1.", name)
    name = re.sub(r"(conv[123]|transp_conv)\.conv\.", r"\1.", name)
    return name.replace("out.conv.conv.", "out.")


def _encoder_name(name: str) -> str:
    name = name.removeprefix("module.").removeprefix("swinViT.").removeprefix("encoder.")
    # Disrupted autoencoders: layers1.0.0.blocks for layers1.0.blocks.
    name = re.sub(r"^(layers\d)\.0\.0\.", r"\1.0.", name)
    return _plain_convolution(_linear(name))


def _linear(name: str) -> str:
    """Call the layers of an MLP as MONAI's network does; most others say ``fc1`` and ``fc2``."""
    return name.replace("mlp.fc1.", "mlp.linear1.").replace("mlp.fc2.", "mlp.linear2.")


def _plain_convolution(name: str) -> str:
    """Unwrap the convolutions before the stages of SwinUNETR-V2."""
    return re.sub(r"(layers\dc\.0)\.layer\.(conv\d)\.conv\.", r"\1.\2.", name)


@dataclass(frozen=True)
class Match:
    """What a loaded state had in common with a network."""

    matched: list[str]
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in one line."""
        words = f"{len(self.matched)} tensors matched"
        for label in ("missing", "unexpected", "other_shape"):
            names = getattr(self, label)
            if names:
                words += f", {len(names)} {label.replace('_', ' ')} (first: {names[0]})"
        return words


def compare(module: nn.Module, state: State) -> Match:
    """Compare names and shapes of a state with those of a network."""
    own = module.state_dict()
    shared = [name for name in own if name in state]
    return Match(
        matched=[name for name in shared if own[name].shape == state[name].shape],
        missing=[name for name in own if name not in state],
        unexpected=[name for name in state if name not in own],
        other_shape=[name for name in shared if own[name].shape != state[name].shape],
    )


def load_matching(module: nn.Module, state: State, least: float = 0.9) -> Match:
    """Load what fits and report the rest.

    Args:
        module: the network, usually an encoder.
        state: weights under our names (see :func:`from_monai`).
        least: share of the network's tensors that must match.

    Raises:
        BenchError: fewer match; nothing is loaded then.
    """
    match = compare(module, state)
    if len(match.matched) < least * len(module.state_dict()):
        raise BenchError(
            f"these weights hardly fit {type(module).__name__}: {match};"
            " build the network they were trained with"
        )
    module.load_state_dict({name: state[name] for name in match.matched}, strict=False)
    return match


def load_strictly(module: nn.Module, state: State) -> None:
    """Load a state whose names and shapes all fit.

    Raises:
        BenchError: something is missing, unexpected or of another shape; nothing is loaded then.
    """
    match = compare(module, state)
    if match.missing or match.unexpected or match.other_shape:
        raise BenchError(
            f"weights do not fit this {type(module).__name__}: {match};"
            " were they trained with the same backbone and options?"
        )
    module.load_state_dict(dict(state))
