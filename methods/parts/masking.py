"""Hiding blocks of a crop, and the error over what was hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from medssl_bench.method import Batch
    from medssl_bench.networks.encoder import Encoder


@dataclass(frozen=True)
class BlockMasking:
    """Cubic cells of ``cell`` voxels on the grid ``(d, h, w)``; ``hidden`` of them are masked."""

    grid: tuple[int, int, int]
    cell: int
    hidden: int

    @classmethod
    def fit(
        cls,
        method: str,
        encoder: Encoder,
        crop: tuple[int, int, int],
        cell: int,
        ratio: float,
        multiple_of: int = 1,
    ) -> BlockMasking:
        """Lay cells over a crop; raises BenchError where they fit neither it nor the backbone.

        Exactly ``ceil(ratio * cells)`` cells are hidden. A cell holds whole patches of the encoder
        (its finest stride) and, where ``multiple_of`` says so, whole tokens of that stride.
        """
        if encoder.mask_channels == 0:
            raise BenchError(
                f"{method}: this backbone takes no mask; choose one that lists mask_input in"
                " `bench list backbones`"
            )
        unit = math.lcm(min(level.stride for level in encoder.levels), multiple_of)
        if cell <= 0 or cell % unit:
            raise BenchError(
                f"{method}: cell={cell} must be a multiple of {unit} voxels with this backbone"
            )
        return cls.over(method, crop, cell, ratio)

    @classmethod
    def over(cls, method: str, crop: tuple[int, int, int], cell: int, ratio: float) -> BlockMasking:
        """Lay cells of any size over a crop, for a method that fills hidden voxels itself.

        Raises:
            BenchError: cells do not fit the crop, or all or none would be hidden.
        """
        if cell <= 0 or any(side % cell for side in crop):
            raise BenchError(
                f"{method}: cell={cell} does not divide the crop {crop}; set a cell or crop that"
                " fits"
            )
        grid = (crop[0] // cell, crop[1] // cell, crop[2] // cell)
        cells = math.prod(grid)
        # The tolerance keeps a product such as 0.07 * 100 = 7.000000000000001 from rounding to 8.
        if not 0 < ratio < 1:
            raise BenchError(f"{method}: ratio={ratio} must be above 0 and below 1")
        hidden = math.ceil(ratio * cells - 1e-9)
        if not 0 < hidden < cells:
            raise BenchError(
                f"{method}: ratio={ratio} hides {hidden} of {cells} cells of the crop {crop}; at"
                " least one must be hidden and one visible"
            )
        return cls(grid, cell, hidden)

    def draw(self, batch: Batch, views: int | None = None) -> Tensor:
        """Draw a mask for each crop of ``torch.cat(batch.views)``, on the CPU.

        ``views``: how many are drawn for each scan, where that is not the number of views.

        Returns ``(views * B, d, h, w)`` bool, True where hidden; cells are drawn uniformly.
        """
        cells, views = math.prod(self.grid), len(batch.views) if views is None else views
        noise = batch.draw(lambda generator: torch.rand(views, cells, generator=generator))
        noise = noise.transpose(0, 1).flatten(0, 1)
        chosen = noise.argsort(dim=1)[:, : self.hidden]
        mask = torch.zeros(noise.shape, dtype=torch.bool)
        return mask.scatter_(1, chosen, True).view(-1, *self.grid)

    def enlarge(self, mask: Tensor, stride: int) -> Tensor:
        """Repeat a mask of cells onto the grid of this stride (1: voxels), ``(B, D, H, W)``."""
        times = self.cell // stride
        for axis in (1, 2, 3):
            mask = mask.repeat_interleave(times, dim=axis)
        return mask


def mask_token(encoder: Encoder, std: float) -> nn.Parameter:
    """Return a learnable vector for hidden patches, drawn from a truncated normal of ``std``."""
    token = torch.zeros(encoder.mask_channels)
    return nn.Parameter(nn.init.trunc_normal_(token, std=std) if std > 0 else token)


def positions(mask: Tensor) -> Tensor:
    """Return the flat indices of hidden tokens, ``(B, k)`` ascending.

    ``mask`` ``(B, d, h, w)`` hides the same number k in every sample. On the CPU this costs no
    synchronisation with a device.
    """
    return mask.flatten(1).nonzero()[:, 1].view(len(mask), -1)


def masked_error(
    kind: Literal["l1", "l2"], prediction: Tensor, image: Tensor, mask: Tensor
) -> Tensor:
    """Mean absolute (``l1``) or squared (``l2``) error over hidden voxels and their channels.

    ``prediction`` and ``image`` ``(B, C, D, H, W)``, ``mask`` ``(B, D, H, W)``; visible voxels
    have no part in the value or the gradient. Computed in float32.
    """
    difference = prediction.float() - image.float()
    error = difference.abs() if kind == "l1" else difference.square()
    hidden = torch.where(mask.unsqueeze(1), error, 0.0)
    return hidden.sum() / (mask.sum() * image.shape[1])
