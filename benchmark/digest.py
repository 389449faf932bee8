"""SHA-256 digests of settings, files and weights: what makes two results comparable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def digest(value: Any) -> str:
    """Digest any JSON-like value, independent of key order (hex, 64 characters)."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot digest a {type(value).__name__}")


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_plain)


def file_digest(path: Path) -> str:
    """Digest the bytes of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seed_from(*words: object) -> int:
    """Derive a 63-bit seed from words such as ``(seed, "crop", step, slot)``.

    Every random choice of a run is keyed this way, so it does not depend on how many workers or
    processes share the work, and a resumed run repeats it exactly.
    """
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Digest tensors by sorted (name, dtype, shape, bytes), not by how a file stores them."""
    import torch

    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
