"""A transposed convolution and the convolution after it, as one on the coarse grid.

``up = ConvTranspose(2^3, stride 2)`` and a 3^3 convolution of it are both linear and without bias,
so each of the 8 places of a fine voxel within its coarse one sees 2^3 coarse voxels through weights
that are products of the two. Per axis, place 0 sees the coarse voxels before and at it, place 1 at
and after it. That is 64 instead of 216 products a coarse voxel, and the fine volume in between is
never made. Equal to the two steps but for rounding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LEAST_VOXELS = 4096
"""Below this, composing the weights costs more than it saves (so it does below 16 a channel)."""


def saves(volume: Tensor, channels: int) -> bool:
    """Tell whether composed weights are the faster way for a coarse ``volume`` (on the CPU)."""
    voxels = volume.shape[2:].numel()
    plain = volume.device.type == "cpu" and volume.dtype == torch.float32
    return (
        plain
        and not torch.is_autocast_enabled("cpu")
        and voxels >= max(LEAST_VOXELS, 16 * channels)
    )


def add_convolved(fine: Tensor, coarse: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    """Add ``conv3d(conv_transpose3d(coarse, up, stride=2), weight, padding=1)`` to ``fine``.

    Args:
        fine: ``(B, out, 2D, 2H, 2W)``.
        coarse: ``(B, in, D, H, W)``.
        up: ``(in, middle, 2, 2, 2)``, weight of the transposed convolution.
        weight: ``(out, middle, 3, 3, 3)``.
    """
    pairs = torch.einsum("omt,nmq->ontq", weight.flatten(2), up.flatten(2)).flatten(2)
    composed = pairs @ _taps().to(pairs)  # (out, in, 8 places * 8 coarse voxels)
    out, channels, _ = composed.shape
    kernels = composed.view(out, channels, 8, 2, 2, 2).permute(2, 0, 1, 3, 4, 5).flatten(0, 1)
    kernels = kernels.contiguous(memory_format=torch.channels_last_3d)
    # Windows of two coarse voxels, from one before the volume to one after it: place 0 takes those
    # that end at its voxel, place 1 those that begin there.
    padded = functional.pad(coarse.permute(0, 2, 3, 4, 1), (0, 0, 1, 1, 1, 1, 1, 1))
    windows = functional.conv3d(padded.permute(0, 4, 1, 2, 3), kernels)
    return _add_places(fine, windows, 1)


def add_pointwise(fine: Tensor, coarse: Tensor, up: Tensor, weight: Tensor) -> Tensor:
    """Add ``conv3d(conv_transpose3d(coarse, up, stride=2), weight)`` with a 1^3 ``weight``.

    All else is as for ``add_convolved``.
    """
    each = torch.einsum("om,nmq->qon", weight.flatten(1), up.flatten(2)).flatten(0, 1)
    rows = functional.linear(coarse.permute(0, 2, 3, 4, 1), each)
    return _add_places(fine, rows.permute(0, 4, 1, 2, 3), 0)


@cache
def _taps() -> Tensor:
    """Return ``(27 * 8, 8 * 8)``: which (tap, place in its coarse voxel) lands on which pair.

    Rows are pairs of a tap of the 3^3 kernel and a place of the transposed one, columns pairs of
    a place of the fine voxel and one of the two coarse voxels that it sees on each axis.
    """
    axis = torch.zeros(3, 2, 2, 2)
    for place in (0, 1):
        for tap in (-1, 0, 1):
            coarse, within = divmod(place + tap, 2)
            axis[tap + 1, within, place, coarse + 1 - place] = 1
    table = torch.einsum("aipx,bjqy,cklz->abcijkpqlxyz", axis, axis, axis)
    return table.reshape(27 * 8, 8 * 8)


def _add_places(fine: Tensor, places: Tensor, shift: int) -> Tensor:
    """Add the 8 places of every coarse voxel; copies where a layout is not channels-last."""
    rows = (each.contiguous(memory_format=torch.channels_last_3d) for each in (fine, places))
    added: Tensor = _AddPlaces.apply(*rows, shift)
    return added


class _AddPlaces(torch.autograd.Function):
    """Add ``(B, 8 C, D + shift, ...)`` to ``(B, C, 2D, ...)``, each place to its fine voxels.

    Place ``p`` of coarse voxel ``i`` is read at ``i + shift p`` on each axis.
    """

    @staticmethod
    def forward(ctx: Any, fine: Tensor, places: Tensor, shift: int) -> Tensor:
        ctx.shift = shift
        ctx.shape = places.shape
        added = torch.empty_like(fine)
        torch.add(_split(fine), _spread(places, shift), out=_split(added))
        return added

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad = grads[0].contiguous(memory_format=torch.channels_last_3d)
        b, channels, *size = ctx.shape
        rows = torch.empty(b, *size, channels, dtype=grad.dtype, device=grad.device)
        if ctx.shift:  # the ends of each axis that one of its two places never reads
            split = rows.view(b, *size, 2, 2, 2, -1)
            for axis in (1, 2, 3):
                split.select(axis + 3, 0).select(axis, -1).zero_()
                split.select(axis + 3, 1).select(axis, 0).zero_()
        places = rows.permute(0, 4, 1, 2, 3)
        _spread(places, ctx.shift).copy_(_split(grad))
        return grad, places, None


def _split(fine: Tensor) -> Tensor:
    """View ``(B, C, 2D, 2H, 2W)``, channels-last, as ``(B, D, 2, H, 2, W, 2, C)``."""
    b, c, d, h, w = fine.shape
    return fine.permute(0, 2, 3, 4, 1).view(b, d // 2, 2, h // 2, 2, w // 2, 2, c)


def _spread(places: Tensor, shift: int) -> Tensor:
    """View ``(B, 8 C, D + shift, ...)``, channels-last, as ``(B, D, 2, H, 2, W, 2, C)``."""
    rows = places.permute(0, 2, 3, 4, 1)
    b, d, h, w, channels = rows.shape
    c = channels // 8
    sb, sd, sh, sw, _ = rows.stride()
    size = (b, d - shift, 2, h - shift, 2, w - shift, 2, c)
    stride = (sb, sd, shift * sd + 4 * c, sh, shift * sh + 2 * c, sw, shift * sw + c, 1)
    return rows.as_strided(size, stride, rows.storage_offset())
