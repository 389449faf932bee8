"""Window geometry of 3-D Swin: which token is in which window, and who may attend to whom.

Tokens are channels-last, ``(B, D, H, W, C)``; a ``channels_last_3d`` image is a free view of that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Grid = tuple[int, int, int]


class Windows(NamedTuple):
    """How one grid of tokens is cut: padded grid, window and shift, in tokens."""

    grid: Grid
    padded: Grid
    window: Grid
    shift: Grid

    @property
    def counts(self) -> Grid:
        """Windows along each axis."""
        d, h, w = (p // s for p, s in zip(self.padded, self.window, strict=True))
        return d, h, w

    @property
    def size(self) -> int:
        """Tokens of one window."""
        return self.window[0] * self.window[1] * self.window[2]


@lru_cache(maxsize=256)
def cut(grid: Grid, window: int, shifted: bool) -> Windows:
    """Cut a grid into windows of side ``window``, shifted by half of it or not.

    An axis no longer than the window is one window of its own length, unshifted; any other is
    padded at its end to a multiple of the window.
    """
    sides = [min(side, window) for side in grid]
    shifts = [window // 2 if shifted and side > window else 0 for side in grid]
    padded = [-(-side // size) * size for side, size in zip(grid, sides, strict=True)]
    return Windows(grid, _grid(padded), _grid(sides), _grid(shifts))


def _grid(sides: list[int]) -> Grid:
    d, h, w = sides
    return d, h, w


def partition(tokens: Tensor, cutting: Windows) -> Tensor:
    """Gather ``(B, D, H, W, C)`` into windows ``(B * windows, tokens of a window, C)``."""
    if cutting.padded != cutting.grid:
        pads = [p - g for p, g in zip(cutting.padded, cutting.grid, strict=True)]
        tokens = functional.pad(tokens, (0, 0, 0, pads[2], 0, pads[1], 0, pads[0]))
    batch, channels = tokens.shape[0], tokens.shape[-1]
    if torch.compiler.is_compiling():  # which makes one kernel of these copies and their neighbours
        tokens = torch.roll(tokens, [-s for s in cutting.shift], (1, 2, 3))
        (a, b, c), (x, y, z) = cutting.counts, cutting.window
        tokens = tokens.view(batch, a, x, b, y, c, z, channels).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return tokens.reshape(-1, cutting.size, channels)
    rows = tokens.reshape(batch, -1, channels)
    if cutting.counts != (1, 1, 1):
        there, back = _orders(cutting, str(tokens.device))
        rows = _Reorder.apply(rows, there, back)
    return rows.reshape(-1, cutting.size, channels)


def reverse(windows: Tensor, cutting: Windows) -> Tensor:
    """Put windows back to ``(B, D, H, W, C)``, the padding cut off."""
    channels = windows.shape[-1]
    if torch.compiler.is_compiling():
        (a, b, c), (x, y, z) = cutting.counts, cutting.window
        whole = windows.view(-1, a, b, c, x, y, z, channels).permute(0, 1, 4, 2, 5, 3, 6, 7)
        whole = whole.reshape(-1, *cutting.padded, channels)
        whole = torch.roll(whole, cutting.shift, (1, 2, 3))
    else:
        tokens = cutting.padded[0] * cutting.padded[1] * cutting.padded[2]
        rows = windows.reshape(-1, tokens, channels)
        if cutting.counts != (1, 1, 1):
            there, back = _orders(cutting, str(windows.device))
            rows = _Reorder.apply(rows, back, there)
        whole = rows.reshape(-1, *cutting.padded, channels)
    if cutting.padded == cutting.grid:
        return whole
    d, h, w = cutting.grid
    return whole[:, :d, :h, :w].contiguous()


class _Reorder(torch.autograd.Function):
    """Permute rows of ``(B, T, C)``: one copy forward and one backward.

    ``torch.roll`` copies once for each axis, and the gradient of plain indexing adds row by row.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return rows.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Reorder.apply(grads[0], inverse, order), None, None


@lru_cache(maxsize=256)
def _orders(cutting: Windows, device: str) -> tuple[Tensor, Tensor]:
    """Return the order of tokens window by window, and its inverse."""
    # Cached tensors are saved for backward later, which those of inference mode cannot be.
    with torch.inference_mode(False):
        d, h, w = cutting.padded
        places = torch.arange(d * h * w).view(d, h, w)
        places = torch.roll(places, [-s for s in cutting.shift], (0, 1, 2))
        (a, b, c), (x, y, z) = cutting.counts, cutting.window
        order = places.view(a, x, b, y, c, z).permute(0, 2, 4, 1, 3, 5).reshape(-1)
        return order.to(device), torch.argsort(order).to(device)


def hide_wrapped(logits: Tensor, cutting: Windows) -> Tensor:
    """Set logits between tokens that only the cyclic shift made neighbours to -inf.

    The shift wraps the volume's end to its start, so just the last window of each shifted axis
    holds such pairs. In place but where compiled: a constant does not change gradients, hence no
    autograd record.

    Args:
        logits: ``(B * windows, heads, n, n)``.
        cutting: how the windows were cut.
    """
    if cutting.shift == (0, 0, 0):
        return logits
    if torch.compiler.is_compiling():
        return _hide_everywhere(logits, cutting)
    masks = _wrapped(cutting, str(logits.device))
    with torch.no_grad():
        by_place = logits.view(-1, *cutting.counts, *logits.shape[1:])
        for axis, mask in masks:
            by_place.select(axis + 1, cutting.counts[axis] - 1).masked_fill_(mask, float("-inf"))
    return logits


def _hide_everywhere(logits: Tensor, cutting: Windows) -> Tensor:
    """Do the same by masks over all windows, which a compiler computes where it needs them."""
    by_place = logits.view(-1, *cutting.counts, *logits.shape[1:])
    for axis, mask in _apart(cutting, logits.device):
        count, view = cutting.counts[axis], [1] * 4
        view[axis + 1] = count
        last = torch.arange(count, device=logits.device) == count - 1
        by_place = by_place.masked_fill(last.view(*view, 1, 1, 1) & mask, float("-inf"))
    return by_place.view_as(logits)


@lru_cache(maxsize=256)
def _wrapped(cutting: Windows, device: str) -> list[tuple[int, Tensor]]:
    """Keep the masks of a cutting on a device."""
    with torch.inference_mode(False):
        return _apart(cutting, torch.device(device))


def _apart(cutting: Windows, device: torch.device) -> list[tuple[int, Tensor]]:
    """Return, for each shifted axis, which pairs ``(n, n)`` of its last window lie apart."""
    masks = []
    for axis, (size, shift) in enumerate(zip(cutting.window, cutting.shift, strict=True)):
        if shift:
            view = [1, 1, 1]
            view[axis] = size
            # 0 or 1, not bool: torch 2.11's compiler cannot tell booleans apart.
            late = (torch.arange(size, device=device) + shift) // size
            late = late.view(view).expand(cutting.window).reshape(-1)
            masks.append((axis, late[:, None] != late[None, :]))
    return masks


@lru_cache(maxsize=64)
def relative_index(window: int) -> Tensor:
    """Return the row of the position table for each pair of tokens, ``(window^3, window^3)``."""
    with torch.inference_mode(False):
        axis = torch.arange(window, device="cpu")
        places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)
        offset = places[:, :, None] - places[:, None, :] + window - 1
        span = 2 * window - 1
        return (offset[0] * span + offset[1]) * span + offset[2]
