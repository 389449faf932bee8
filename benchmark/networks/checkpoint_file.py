"""Encoder weights from files that others published: nothing in them is run, and names become ours.

Layouts: ``medssl`` (a pretraining of ours or an export of it), ``monai_swinunetr`` (a
``SwinUNETR``), ``monai_ssl`` and ``monai_dae`` (its public pretraining checkpoints), ``voco``,
``smit`` (SMIT's releases), ``nnssl`` (OpenMind and others, with an adaptation plan), ``nnunet``,
and ``plain``: a state dict that has none of their marks.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy._core import multiarray
from torch import Tensor

from medssl_bench.errors import BenchError, CaseError
from medssl_bench.networks.convert import (
    ALIAS,
    Match,
    compare,
    from_monai,
    from_residual,
    from_smit,
)

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder

HOLDERS = (
    "network_weights", "state_dict", "model_state_dict", "student", "model", "net", "teacher",
)  # fmt: skip
"""Keys under which training scripts keep the state; the first that is there is taken."""

MARK = "medssl_bench"
"""Key in the header of a safetensors file that says what an export is."""

LEGACY_MERGING = {
    "monai_ssl": "SwinUNETR's public pretraining dates from 2022 (MONAI 0.8)",
    "monai_dae": "the disrupted autoencoder's weights date from 2023",
    "voco": "VoCo pretrained with MONAI 1.3",
}
"""Layouts trained with the merging of MONAI before 1.5 (MONAI pull request 8285), and why."""

_SWIN, _RESIDUAL = "patch_embed.proj.weight", "stem.convs.0.conv.weight"
_HARMLESS: Sequence[Any] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("bool", "i4", "i8", "f4", "f8")),
    *(
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ),
]
"""Containers and numbers that scripts keep beside the weights (arguments, best accuracy)."""


@dataclass(frozen=True)
class Weights:
    """What a file holds of an encoder."""

    file: Path
    layout: str
    holder: str
    """The key the state stood under, such as ``student``; empty where it was the file itself."""
    state: Mapping[str, Tensor]
    """Under our names; what is no part of an encoder keeps its own, pretext heads for example."""
    left_out: tuple[str, ...] = ()
    """Names outside the encoder, such as a decoder's."""


def read_weights(path: Path) -> Weights:
    """Open a checkpoint, find its encoder and name its tensors as ours are named.

    Args:
        path: a file of torch or safetensors, or a folder ``<results>/pretraining/<key>``.

    Raises:
        BenchError: no such file, cut short, not a checkpoint, code inside, no encoder in it, or
            weights that are not finite.
    """
    if path.is_dir():
        return _read_pretraining(path)
    content, header = _open(path)
    state, holder = _find_state(content, path)
    prefix, parts = _find_encoder(state)
    layout = _layout(content, header, state, holder, prefix, parts)
    if layout == "nnssl" and _RESIDUAL not in parts:
        kind = content["nnssl_adaptation_plan"].get("architecture_plans", {}).get("arch_class_name")
        raise BenchError(f"{path}: an nnssl checkpoint of {kind}; of nnssl only ResEnc-L is known")
    if layout == "smit":
        parts = from_smit(parts)
    elif _RESIDUAL in parts and any(ALIAS in name for name in parts):
        parts = from_residual(parts)
    else:
        parts = from_monai(parts)
    for name, tensor in parts.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BenchError(f"{path}: {name} holds values that are not finite")
    outside = tuple(name for name in state if not name.startswith(prefix))
    return Weights(path, layout, holder, parts, outside)


def fit(encoder: Encoder, weights: Weights, backbone: str) -> Match:
    """Compare weights with the encoder they are meant for.

    Weights fit where every matrix and table of the encoder is there in its shape, and where they
    bring no part that the encoder lacks. Biases and norms may be missing: they start neutral.

    Raises:
        BenchError: they do not fit; says what matched and which registered backbone fits.
    """
    match = compare(encoder, weights.state)
    if not _faults(encoder, match):
        return match
    others = [name for name in _fitting(weights, encoder.in_channels) if name != backbone]
    hint = (
        f"they fit {' or '.join(others)}: give it as the backbone"
        if others
        else "they fit no registered backbone"
    )
    raise BenchError(
        f"{weights.file} (layout {weights.layout}): not the weights of {backbone}: {match}; {hint}"
    )


def merging_note(encoder: Encoder, weights: Weights, backbone: str) -> str:
    """Say where weights were trained with another merging than the encoder's, else nothing."""
    if not _merges_otherwise(encoder, weights):
        return ""
    better = _fitting(weights, encoder.in_channels)[0]
    return (
        f"{weights.file}: {LEGACY_MERGING[weights.layout]}, which merged patches in another way"
        f" than backbone {backbone}; {better} does as it did"
    )


def load_into(encoder: Encoder, weights: Weights, backbone: str) -> Match:
    """Load what fits; what is missing keeps its start.

    Raises:
        BenchError: as :func:`fit`; nothing is loaded then.
    """
    match = fit(encoder, weights, backbone)
    encoder.load_state_dict({name: weights.state[name] for name in match.matched}, strict=False)
    return match


def _faults(encoder: Encoder, match: Match) -> list[str]:
    """Names of what makes these the weights of another network."""
    own = encoder.state_dict()
    heads = {re.sub(r"\d+c?$", "", name.partition(".")[0]) for name in own}
    foreign = [
        name
        for name in match.unexpected
        if "." in name and re.sub(r"\d+c?$", "", name.partition(".")[0]) in heads
    ]
    return [*(name for name in match.missing if own[name].ndim > 1), *match.other_shape, *foreign]


def _merges_otherwise(encoder: Encoder, weights: Weights) -> bool:
    order = getattr(getattr(encoder, "config", None), "merge_order", None)
    return weights.layout in LEGACY_MERGING and order not in (None, "monai_legacy")


def _fitting(weights: Weights, in_channels: int) -> list[str]:
    """Registered backbones that the weights fit, those with the right merging first."""
    from medssl_bench.networks import build_encoder
    from medssl_bench.registry import backbones

    found = {}
    for name in backbones.entries():
        try:
            with torch.device("meta"):
                encoder = build_encoder(name, in_channels)
        except BenchError:  # a library it needs is not installed
            continue
        if not _faults(encoder, compare(encoder, weights.state)):
            found[name] = _merges_otherwise(encoder, weights)
    return sorted(found, key=lambda name: found[name])


def _read_pretraining(folder: Path) -> Weights:
    from medssl_bench.store import Store

    if not (folder / "pretraining.json").is_file():
        raise BenchError(f"{folder}: a folder without pretraining.json; give a file, or a"
                         " folder <results>/pretraining/<key>")  # fmt: skip
    store = Store(folder.parent.parent, read_only=True)
    try:
        return Weights(folder, "medssl", "", store.read_weights(folder.name))
    except CaseError as error:
        raise BenchError(str(error)) from None


def _open(path: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return a file's content and, of safetensors, its header."""
    if not path.is_file():
        raise BenchError(f"{path}: no such checkpoint")
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    with path.open("rb") as file:
        begins_as_one = file.read(2) in (b"PK", b"\x80\x02")  # a zip file, or a pickle
    try:
        with torch.serialization.safe_globals(list(_HARMLESS)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's age; what cannot be read is refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code is None:
            raise BenchError(
                f"{path}: not a checkpoint of torch, or damaged; a plain pickle, which may run"
                " code, is never opened"
            ) from None
        raise BenchError(
            f"{path}: holds code ({code[1]}), which is not run; ask for a file of tensors alone"
        ) from None
    except Exception:  # what a broken file makes of torch's reader can be anything
        fault = "cut short, or damaged" if begins_as_one else "not a checkpoint"
        raise BenchError(f"{path}: {fault}") from None
    if not isinstance(content, Mapping):
        raise BenchError(f"{path}: not a checkpoint: holds a {type(content).__name__}")
    return content, {}


def _open_safetensors(path: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BenchError(f"{path}: not a safetensors file, or cut short ({error})") from None


def _find_state(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors by name and the key they stood under."""
    for holder in HOLDERS:
        if isinstance(content.get(holder), Mapping):
            state, inner = _find_state(content[holder], path)
            return state, f"{holder}.{inner}" if inner else holder
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        shown = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise BenchError(f"{path}: no weights in it, only {shown}")
    return state, ""


def _find_encoder(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return the prefix of the encoder's names, and its tensors without it.

    A file may hold several: a teacher beside the student, a decoder's reference to its encoder.
    """
    found = [
        name.removesuffix(anchor)
        for name in state
        for anchor in (_SWIN, _RESIDUAL)
        if name == anchor or name.endswith(f".{anchor}")
    ]
    second = re.compile(r"teacher|decoder|ema")
    found.sort(key=lambda prefix: (second.search(prefix) is not None, len(prefix), prefix))
    prefix = found[0] if found else ""
    if not found and all(name.startswith("module.") for name in state):
        prefix = "module."
    parts = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    return prefix, parts


def _layout(
    content: Mapping[str, Any],
    header: Mapping[str, str],
    state: Mapping[str, Tensor],
    holder: str,
    prefix: str,
    parts: Mapping[str, Tensor],
) -> str:
    """Name the layout by the marks that its scripts leave."""

    def some(pattern: str, names: Mapping[str, Any]) -> bool:
        return any(re.search(pattern, name) for name in names)

    if MARK in header:
        return "medssl"
    if "nnssl_adaptation_plan" in content:
        return "nnssl"
    if _RESIDUAL in parts:
        return "nnunet" if holder == "network_weights" else "plain"
    if some(r"^layers\.0\.blocks\.", parts):
        return "smit"
    if some(r"^layers1\.0\.0\.", parts):
        return "monai_dae"
    if some(r"proj_head\.", state):
        return "voco"
    if some(r"^layers1\..*mlp\.fc1\.", parts):
        return "monai_ssl"
    if prefix.endswith(("swinViT.", "swin_vit.")):
        return "monai_swinunetr"
    return "plain"
