"""Supervised losses of fine-tuning (paper 004: CE+Dice for organs, BCE+Dice for tumours)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from monai.losses import DiceLoss
from monai.networks import one_hot
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["organs", "tumour", "classification"]


def output_channels(kind: Kind, classes: int) -> int:
    """Organs compete with background (softmax); tumours are independent (sigmoid).

    Classes of cases compete with each other.
    """
    return classes + 1 if kind == "organs" else classes


def segmentation_loss(kind: Kind, classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return ``loss(logits (B, K, D, H, W), labels (B, 1, D, H, W)) -> scalar``.

    Dice has squared denominators and smoothing 1e-6, as in the public SMIT fine-tuning code.
    """
    softmax = kind == "organs"
    dice = DiceLoss(
        softmax=softmax, sigmoid=not softmax, squared_pred=True, smooth_nr=1e-6, smooth_dr=1e-6
    )

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            target = one_hot(labels, classes + 1)
            if softmax:
                return dice(logits, target) + F.cross_entropy(logits, labels[:, 0])
            target = target[:, 1:]
            return dice(logits, target) + F.binary_cross_entropy_with_logits(logits, target)

    return loss


def classification_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of logits ``(B, K)`` and class ids ``(B,)`` (papers 001 and 003)."""
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(logits.float(), classes)


def supervised_loss(
    kind: Kind, classes: int
) -> Callable[[Tensor | tuple[Tensor, ...], Tensor], Tensor]:
    """Return ``loss(network's output, labels or classes) -> scalar`` of a task.

    Of a network under deep supervision, which puts out several logits, it is the sum of the losses
    of each (paper 003's code).
    """
    one = classification_loss if kind == "classification" else segmentation_loss(kind, classes)

    def loss(output: Tensor | tuple[Tensor, ...], truth: Tensor) -> Tensor:
        outputs = output if isinstance(output, tuple) else (output,)
        return torch.stack([one(logits, truth) for logits in outputs]).sum()

    return loss


def probabilities(logits: Tensor, kind: Kind) -> Tensor:
    """Turn logits ``(B, K, ...)`` into probabilities of the same shape."""
    logits = logits.float()
    return logits.softmax(1) if kind == "organs" else logits.sigmoid()
