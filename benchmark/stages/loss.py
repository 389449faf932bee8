"""Supervised losses of fine-tuning (paper 004: CE+Dice for organs, BCE+Dice for tumours)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTHING = 1e-6
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

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            target = one_hot_labels(labels, classes + 1)
            if softmax:
                dice = dice_loss(logits.softmax(1), target)
                return dice + F.cross_entropy(logits, labels[:, 0])
            target = target[:, 1:]
            dice = dice_loss(logits.sigmoid(), target)
            return dice + F.binary_cross_entropy_with_logits(logits, target)

    return loss


def one_hot_labels(labels: Tensor, classes: int) -> Tensor:
    """Return ``(B, K, D, H, W)`` of labels ``(B, 1, D, H, W)``, as floats."""
    zeros = torch.zeros(len(labels), classes, *labels.shape[2:], device=labels.device)
    return zeros.scatter_(1, labels, 1.0)


def dice_loss(shares: Tensor, target: Tensor) -> Tensor:
    """Return 1 - Dice of each case and class, averaged; equal to MONAI's ``DiceLoss``.

    That one is not called because importing MONAI takes longer than everything else that a process
    does before its first step.
    """
    volume = (2, 3, 4)
    overlap = (shares * target).sum(volume)
    sizes = shares.square().sum(volume) + target.square().sum(volume)
    return (1 - (2 * overlap + SMOOTHING) / (sizes + SMOOTHING)).mean()


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
