"""Fine-tuning augmentation, batched on the device and keyed by (seed, step)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl_bench.config import Augmentation


def augment(
    images: Tensor, labels: Tensor, settings: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Rotate in the axial plane, mirror, and scale/shift intensities, sample by sample.

    Args:
        images: ``(B, C, D, H, W)`` in [0, 1]; D, H span the axial plane.
        labels: ``(B, 1, D, H, W)``, turned with the images; or classes ``(B,)``, left alone.
        settings: Probabilities and ranges (public SMIT fine-tuning code, or paper 003's).
        rng: Source of all draws.

    Returns:
        New tensors of the same shapes. A crop that is not square in the axial plane turns by
        180 degrees only.
    """
    count = images.shape[0]
    turns = np.where(rng.random(count) < settings.rotate90, rng.integers(1, 4, count), 0)
    if images.shape[2] != images.shape[3]:
        turns = np.where(turns > 0, 2, 0)
    if turns.any():
        images = _turn(images, turns)
        labels = _turn(labels, turns) if labels.ndim > 1 else labels
    if settings.flip:
        mirrored = rng.random((count, 1 if settings.flip_jointly else 3)) < settings.flip
        images = _mirror(images, mirrored)
        labels = _mirror(labels, mirrored) if labels.ndim > 1 else labels
    reach = settings.intensity_range
    scale = np.where(rng.random(count) < settings.intensity, rng.uniform(-reach, reach, count), 0)
    shift = np.where(rng.random(count) < settings.intensity, rng.uniform(-reach, reach, count), 0)
    factor = torch.tensor(1 + scale, dtype=images.dtype, device=images.device)
    offset = torch.tensor(shift, dtype=images.dtype, device=images.device)
    view = (count, 1, 1, 1, 1)
    return images * factor.view(view) + offset.view(view), labels


def _turn(volumes: Tensor, turns: NDArray[np.integer]) -> Tensor:
    """Turn each volume ``(C, D, H, W)`` of a batch by its number of quarter turns."""
    turned = [torch.rot90(v, int(k), (1, 2)) for v, k in zip(volumes, turns, strict=True)]
    return torch.stack(turned)


def _mirror(volumes: Tensor, axes: NDArray[np.bool_]) -> Tensor:
    """Mirror each volume ``(C, D, H, W)`` along its true axes: ``(B, 3)``; ``(B, 1)``: all."""
    mirrored = [
        torch.flip(volume, [int(axis) + 1 for axis in np.flatnonzero(np.broadcast_to(chosen, 3))])
        for volume, chosen in zip(volumes, axes, strict=True)
    ]
    return torch.stack(mirrored)
