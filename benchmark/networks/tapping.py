"""What the layers of an encoder put out and where their attention heads look, taken by hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medssl_bench.networks.attention import Attention, attention_logits
from medssl_bench.networks.encoder import Encoder
from medssl_bench.networks.swin import SwinEncoder
from medssl_bench.networks.windows import Windows, hide_wrapped, partition

TakeFeatures = Callable[[str, Tensor], None]
"""Called with a layer's name and what it put out, ``(B, C, D, H, W)``."""
TakeAttention = Callable[[str, Attention, Tensor, Windows], None]
"""Called with a layer's name, its attention, and the windows of tokens it was given."""


def layer_names(encoder: Encoder) -> list[str]:
    """Return the layers in order: every block of a Swin encoder, the levels of any other."""
    if isinstance(encoder, SwinEncoder):
        return list(encoder.blocks())
    return [level.name for level in encoder.levels]


@contextmanager
def tapped(
    encoder: Encoder, take: TakeFeatures, look: TakeAttention | None = None
) -> Iterator[None]:
    """Pass on what every layer puts out in the forward passes inside; no hook is left behind."""
    handles = []
    try:
        if isinstance(encoder, SwinEncoder):
            for name, block in encoder.blocks().items():
                handles.append(block.register_forward_hook(partial(_take_tokens, take, name)))
                if look is not None:
                    hook = partial(_look, look, name)
                    handles.append(block.attn.register_forward_pre_hook(hook))
        else:
            handles.append(encoder.register_forward_hook(partial(_take_levels, take)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _take_tokens(
    take: TakeFeatures, name: str, block: nn.Module, given: Any, tokens: Tensor
) -> None:
    take(name, tokens.permute(0, 4, 1, 2, 3))


def _take_levels(
    take: TakeFeatures, encoder: nn.Module, given: Any, maps: dict[str, Tensor]
) -> None:
    for name, features in maps.items():
        take(name, features)


def _look(
    look: TakeAttention, name: str, attention: Attention, given: tuple[Tensor, Windows]
) -> None:
    look(name, attention, *given)


@dataclass(frozen=True)
class Gaze:
    """Where heads look, averaged over the query tokens of one forward pass."""

    distance: Tensor
    """Mean distance from a query to what it attends to, weighted by attention, ``(heads,)``, mm."""
    entropy: Tensor
    """Entropy of a query's attention, ``(heads,)``, nats."""
    uniform_distance: float
    """The same of heads that attend alike to all they may attend to, mm."""
    uniform_entropy: float


@torch.inference_mode()
def gaze(
    attention: Attention, tokens: Tensor, cutting: Windows, pitch: tuple[float, float, float]
) -> Gaze:
    """Measure attention distance (Dosovitskiy et al. 2021, appendix D.7) and entropy.

    Both are taken inside the windows, over the tokens of the image: those that only fill a window
    up neither ask nor answer, and a query's attention to the others is made to sum to one.

    Args:
        attention: Of one block.
        tokens: What it was given, ``(B * windows, n, C)``.
        cutting: How the windows were cut.
        pitch: Distance between neighbouring tokens along each axis, mm.
    """
    q, k, _ = attention.project(tokens)
    bias = attention.bias(cutting.size)
    there = partition(torch.ones(1, *cutting.grid, 1, device=tokens.device), cutting)[..., 0] > 0
    there = there.repeat(len(tokens) // len(there), 1)
    distances = _distances(cutting, pitch).to(tokens.device)
    # One head at a time: a head's weights are n times its windows.
    heads = [
        _reduce(
            attention_logits(q[:, head, None], k[:, head, None], bias[head, None], cutting),
            there,
            distances,
        )
        for head in range(attention.heads)
    ]
    alike = q.new_zeros(len(tokens), 1, cutting.size, cutting.size)
    uniform = _reduce(hide_wrapped(alike, cutting), there, distances)
    found = torch.stack(heads)
    return Gaze(found[:, 0], found[:, 1], uniform[0].item(), uniform[1].item())


def _reduce(logits: Tensor, there: Tensor, distances: Tensor) -> Tensor:
    """Return mean distance and entropy ``(2,)`` float64 of one head's logits ``(N, 1, n, n)``."""
    weights = logits[:, 0].masked_fill(~there[:, None, :], float("-inf")).softmax(-1)
    queries = torch.stack(
        [(weights * distances).sum(-1), torch.special.entr(weights).sum(-1)], dim=-1
    )
    return queries[there].double().mean(dim=0)


def _distances(cutting: Windows, pitch: tuple[float, float, float]) -> Tensor:
    """Return the distance between the tokens of a window, ``(n, n)``, mm."""
    axes = [torch.arange(side) * step for side, step in zip(cutting.window, pitch, strict=True)]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2).float()
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
