"""A loss over the scans of all processes: who else is there, and what they computed."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


def world() -> int:
    """Return how many processes train together; 1 where nothing is distributed."""
    on = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if on else 1


def rank() -> int:
    """Return this process's place among them."""
    return distributed.get_rank() if world() > 1 else 0


def gather(rows: Tensor) -> Tensor:
    """Join the rows ``(B, ...)`` of all processes to ``(world * B, ...)``, in order of rank.

    B is the same on all. The gradient of every process's loss flows back to the process that
    computed a row, so that the mean over processes of losses on local anchors has the gradient of
    one loss on the whole batch.
    """
    return rows if world() == 1 else cast(Tensor, _Gather.apply(rows.contiguous()))


class _Gather(torch.autograd.Function):
    """Gather rows; backward, sum the gradients that all processes have for this one's rows.

    Of public collectives, which every backend has. Torch's own differentiable gather is deprecated
    in 2.14, what is to replace it is not public, and on gloo it returns gradients in a wrong order
    where they are not contiguous.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world())]
        distributed.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.chunk(world())[rank()]


@torch.no_grad()
def mean(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without gradient."""
    if world() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / world()
