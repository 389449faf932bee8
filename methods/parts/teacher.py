"""A teacher whose weights are a moving average of the student's."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Teacher(nn.ModuleDict):
    """Copies of the student's modules, by name.

    They start equal to the student, take no gradient, stay in eval mode (no drop-path) whatever
    mode the method is in, and move only through :meth:`follow`.
    """

    def __init__(self, **student: nn.Module) -> None:
        super().__init__({name: copy.deepcopy(module) for name, module in student.items()})
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def follow(self, momentum: float, **student: nn.Module) -> None:
        """Set ``teacher = momentum * teacher + (1 - momentum) * student``; buffers are copied."""
        for name, source in student.items():
            target = self[name]
            torch._foreach_lerp_(
                list(target.parameters()), list(source.parameters()), 1.0 - momentum
            )
            for kept, given in zip(target.buffers(), source.buffers(), strict=True):
                kept.copy_(given)
