"""A loss over the scans of all processes: who else is there, and what they computed."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def world() -> int:
    """Return how many processes train together; 1 where nothing is distributed."""
    on = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if on else 1


def rank() -> int:
    """Return this process's place among them."""
    return distributed.get_rank() if world() > 1 else 0


def gather(rows: Tensor) -> Tensor:
    """Join the rows ``(B, ...)`` of all processes to ``(world * B, ...)``, in order of rank.

    The gradient of every process's loss flows back to the process that computed a row, so that the
    mean over processes of losses on local anchors has the gradient of one loss on the whole batch.
    """
    if world() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(list(all_gather(rows.contiguous())))


@torch.no_grad()
def mean(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, without gradient."""
    if world() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / world()
