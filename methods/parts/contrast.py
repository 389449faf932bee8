"""Telling the two views of a scan from those of all other scans (InfoNCE)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.distributed import gather, rank


class Contrast(NamedTuple):
    """The loss of :func:`nt_xent`, and the cosines it comes from, without gradient."""

    loss: Tensor
    positive: Tensor
    """Mean cosine of the two views of a scan."""
    negative: Tensor
    """Mean cosine of views of different scans."""


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Contrast:
    r"""Return SimCLR's normalised, temperature-scaled cross entropy, in float32.

    .. math:: L = -\frac{1}{2N} \sum_{i=1}^{2N} \log \frac{\exp(\cos(v_i, v_{i+N}) / t)}
        {\sum_{k \ne i} \exp(\cos(v_i, v_k) / t)}

    with indices modulo :math:`2N`: an anchor has 2N - 1 candidates, of which one is its scan's
    other view. The N scans are those of all processes; the loss is the mean over the anchors of
    this one, so that the mean over processes is :math:`L`.

    Args:
        first: Codes ``(B, d)`` of this process's scans; any length.
        second: Codes of the same scans' other views.
        temperature: :math:`t`, above 0.

    Raises:
        BenchError: There is only one scan in all, so nothing to tell it from.
    """
    own = len(first)
    with torch.autocast(first.device.type, enabled=False):
        views = [functional.normalize(view.float(), dim=-1) for view in (first, second)]
        candidates = torch.cat([gather(view) for view in views])
        cosines = torch.cat(views) @ candidates.T
    scans = len(candidates) // 2
    if scans < 2:
        raise BenchError("a contrast needs two scans or more; set pretrain.batch=2 or more")
    place = rank() * own + torch.arange(own, device=cosines.device)
    itself = torch.cat((place, place + scans)).unsqueeze(1)
    partner = itself.roll(own, dims=0)
    logits = (cosines / temperature).scatter(1, itself, -torch.inf)
    loss = functional.cross_entropy(logits, partner.squeeze(1))
    with torch.no_grad():
        positive = cosines.gather(1, partner).mean()
        others = cosines.scatter(1, torch.cat((itself, partner), dim=1), 0.0)
        negative = others.sum() / (2 * own * (2 * scans - 2))
    return Contrast(loss, positive, negative)


def paired_info_nce(first: Tensor, second: Tensor, temperature: float) -> Contrast:
    r"""Return the symmetric contrast of two views of each scan, in float32.

    .. math:: L = -\frac{1}{2N} \sum_{i=1}^{N} \left( \log \frac{\exp(\cos(f_i, g_i) / t)}
        {\sum_j \exp(\cos(f_i, g_j) / t)} + \log \frac{\exp(\cos(g_i, f_i) / t)}
        {\sum_j \exp(\cos(g_i, f_j) / t)} \right)

    Views of one kind are compared with those of the other alone (BrainMVP, equations 4 and 5), so
    an anchor has N candidates; all else is as for :func:`nt_xent`.
    """
    own = len(first)
    with torch.autocast(first.device.type, enabled=False):
        views = [functional.normalize(view.float().flatten(1), dim=-1) for view in (first, second)]
        everyone = [gather(view) for view in views]
        forth, back = views[0] @ everyone[1].T, views[1] @ everyone[0].T
    scans = forth.shape[1]
    if scans < 2:
        raise BenchError("a contrast needs two scans or more; set pretrain.batch=2 or more")
    partner = rank() * own + torch.arange(own, device=forth.device)
    halves = [functional.cross_entropy(side / temperature, partner) for side in (forth, back)]
    with torch.no_grad():
        positive = forth.gather(1, partner.unsqueeze(1)).mean()
        others = torch.stack((forth, back)).scatter(2, partner.expand(2, own).unsqueeze(2), 0.0)
        negative = others.sum() / (2 * own * (scans - 1))
    return Contrast(torch.stack(halves).mean(), positive, negative)
