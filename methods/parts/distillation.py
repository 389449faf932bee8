"""Centred and sharpened targets of a teacher, and the student's distance from them (DINO)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medssl_bench.methods.parts.distributed import mean


class Centre(nn.Module):
    """The moving mean of a teacher's logits; subtracting it keeps one output from winning always.

    A step's outputs are noted in the forward pass and enter the mean in :meth:`update`, after the
    optimizer step, so that ``value`` alone is the state to save.
    """

    value: Tensor

    def __init__(self, width: int, momentum: float) -> None:
        """Start at zero; ``momentum`` is the old mean's share (0.9)."""
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(width))
        self._total: Tensor | None = None
        self._rows = 0

    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Return ``softmax((logits - centre) / temperature)`` in float32, and note the logits."""
        logits = logits.detach().float()
        rows = logits.flatten(0, -2)
        total = rows.sum(dim=0)
        self._total = total if self._total is None else self._total + total
        self._rows += len(rows)
        return ((logits - self.value) / temperature).softmax(dim=-1)

    @torch.no_grad()
    def update(self) -> None:
        """Move the centre by what was noted since the last update, on all processes alike."""
        if self._total is None:
            return
        self.value.lerp_(mean(self._total / self._rows), 1.0 - self.momentum)
        self._total, self._rows = None, 0


def cross_entropy(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return ``-sum(target * log softmax(logits / temperature))`` over the last axis, in float32.

    ``logits`` (student) and ``target`` (the teacher's probabilities) ``(..., out)`` give ``(...)``.
    """
    return -(target * (logits.float() / temperature).log_softmax(dim=-1)).sum(dim=-1)


def entropy(probabilities: Tensor) -> Tensor:
    """Return ``-sum(p log p)`` over the last axis, in nats; ``(..., out)`` gives ``(...)``."""
    return torch.special.entr(probabilities).sum(dim=-1)
