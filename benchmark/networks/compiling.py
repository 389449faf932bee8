"""``torch.compile`` for the parts of an encoder that are many small kernels."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
import warnings
from pathlib import Path
from typing import Any, Literal

from torch import nn

from medssl_bench.errors import BenchError

Compile = bool | Literal["auto"]

WORTH_STEPS = 5000
"""Compiling takes one to three minutes, which fewer steps do not win back."""


def resolve_compile(wanted: Compile, device: str, steps: int) -> bool:
    """Turn ``auto`` into True for long runs on a GPU where ``torch.compile`` finds what it needs.

    Raises:
        BenchError: It is asked for, and something is missing.
    """
    if wanted == "auto":
        return device == "cuda" and steps >= WORTH_STEPS and what_is_missing(device) is None
    missing = what_is_missing(device) if wanted else None
    if missing:
        raise BenchError(f"pretrain.compile=true: torch.compile needs {missing}; or set it to auto")
    return wanted


def what_is_missing(device: str) -> str | None:
    """Name what ``torch.compile`` would need on this machine and does not find."""
    compiler = os.environ.get("CXX" if device == "cpu" else "CC")
    named = ("g++", "c++", "clang++") if device == "cpu" else ("gcc", "cc", "clang")
    if not any(shutil.which(name) for name in ([compiler] if compiler else named)):
        return f"a C{'++' if device == 'cpu' else ''} compiler"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers (Debian: python3-dev)"
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton"
    return None


def compile_blocks(model: nn.Module, **options: Any) -> None:
    """Compile every block, patch embedding and merging of ``model``, each for itself.

    What lies between their matrix products (norms, rolls, windows, softmax, casts) becomes a few
    kernels. Equal blocks share their code, and what a method does around them stays as it is.
    Results differ from those of the same blocks not compiled by rounding alone. ``options`` go to
    ``torch.compile``.
    """
    import torch._dynamo

    from medssl_bench.networks.swin_block import PatchEmbed, PatchMerging, SwinBlock
    from medssl_bench.networks.uniformer import AttentionBlock, ConvolutionBlock

    parts = (SwinBlock, PatchEmbed, PatchMerging, ConvolutionBlock, AttentionBlock)
    # It traces through the cache of a function of integers, and would rather have TF32.
    warnings.filterwarnings("ignore", message="(?s).*functools.lru_cache")
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
    # Every drop-path rate is a program of its own, with and without gradients.
    for limit in ("recompile_limit", "accumulated_recompile_limit"):
        setattr(torch._dynamo.config, limit, max(1024, getattr(torch._dynamo.config, limit)))
    for module in model.modules():
        if isinstance(module, parts):
            module.compile(dynamic=False, **options)
