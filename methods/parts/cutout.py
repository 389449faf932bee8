"""Cuboids of a crop dropped for noise, or for what another crop shows there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.distributed import gather, rank, world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medssl_bench.method import Batch

Cuboid = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Cutout:
    """SwinUNETR's cutout, of one or two passes (its pretraining code).

    A pass draws a share from ``U(0, volume)`` and drops cuboids until their volumes add up to that
    share of the crop; what lies beyond the border is not counted, what overlaps is counted twice.
    The first pass fills each cuboid with Gaussian noise, scaled from its minimum and maximum to 0
    and 1. The second draws a scan of the whole batch, all processes together, for each crop, and
    fills with that scan's crop of the same view; a crop that draws its own scan stays.

    The public code fills from crops of which those earlier in the batch are cut already; here from
    uncut ones, so that the order within a batch does not matter.
    """

    volume: float
    """Bound of the share of the crop that a pass drops, in [0, 1]."""
    smallest: float
    largest: float
    """Sides of a cuboid, as shares of the crop's: uniform over whole voxels from ``smallest`` to
    below ``largest``, both rounded down."""
    second_pass: bool

    def __post_init__(self) -> None:
        """Raise BenchError for shares that cannot be."""
        if not 0.0 <= self.volume <= 1.0:
            raise BenchError(f"cutout: volume={self.volume} must be in [0, 1]")
        if not 0.0 <= self.smallest <= self.largest <= 1.0:
            raise BenchError(
                f"cutout: smallest={self.smallest} and largest={self.largest} must be in [0, 1] and"
                " in this order"
            )

    def __call__(self, batch: Batch, images: Tensor) -> Tensor:
        """Return a corrupted copy of ``images`` ``(views * B, C, D, H, W)``, the batch's crops."""
        views, shape = len(batch.views), images.shape[1:]
        noise = _by_view(
            batch.draw(lambda scan: torch.stack([self.noise(shape, scan) for _ in range(views)]))
        ).to(images.device, non_blocking=True)
        cut = torch.where(noise.isnan(), images, noise)
        return self._fill_from_others(batch, images, cut) if self.second_pass else cut

    def _fill_from_others(self, batch: Batch, images: Tensor, cut: Tensor) -> Tensor:
        """Drop cuboids of ``cut`` for what the ``images`` of drawn scans show there."""
        views, size = len(batch.views), images.shape[2:]
        own = len(batch.generators)
        everyone = world() * own
        if everyone < 2:
            raise BenchError("second_pass takes from another scan of the step: batch 2 or more")
        other = batch.draw(lambda scan: torch.randint(everyone, (views,), generator=scan))
        dropped = batch.draw(
            lambda scan: torch.stack([self.dropped(size, scan) for _ in range(views)])
        )
        itself = other == (rank() * own + torch.arange(own)).unsqueeze(1)
        dropped &= ~itself[:, :, None, None, None]
        where = _by_view(dropped).unsqueeze(1).to(images.device, non_blocking=True)
        chosen = other.T.to(images.device, non_blocking=True)
        with torch.no_grad():
            sources = [
                gather(view)[rows] for view, rows in zip(images.chunk(views), chosen, strict=True)
            ]
        return torch.where(where, torch.cat(sources), cut)

    def noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw the first pass over a crop ``(C, D, H, W)``: noise, and NaN where nothing drops."""
        filled = torch.full(tuple(shape), math.nan)
        voxels = filled.numpy()  # the same memory; torch takes longer over so small parts
        for cuboid in self.cuboids(shape[1:], generator):
            sides = [span.stop - span.start for span in cuboid]
            drawn = torch.randn(shape[0], *sides, generator=generator).numpy()
            drawn -= drawn.min()
            drawn /= max(drawn.max(), np.finfo(drawn.dtype).tiny)  # of one voxel, 0
            voxels[(slice(None), *cuboid)] = drawn
        return filled

    def dropped(self, size: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw the second pass over a crop ``(D, H, W)``: True where it drops."""
        where = torch.zeros(tuple(size), dtype=torch.bool)
        voxels = where.numpy()
        for cuboid in self.cuboids(size, generator):
            voxels[cuboid] = True
        return where

    def cuboids(self, size: Sequence[int], generator: torch.Generator) -> list[Cuboid]:
        """Draw the cuboids of one pass over a crop of ``size`` voxels."""
        share = self.volume * torch.rand((), generator=generator).item()
        wanted, dropped = share * math.prod(size), 0
        found: list[Cuboid] = []
        while dropped < wanted:
            draws = torch.rand(3, 2, generator=generator).tolist()
            x, y, z = (self._span(side, *draw) for side, draw in zip(size, draws, strict=True))
            found.append((x, y, z))
            dropped += math.prod(span.stop - span.start for span in found[-1])
        return found

    def _span(self, side: int, place: float, length: float) -> slice:
        """Return the voxels of an axis that two draws from U(0, 1) stand for."""
        smallest = max(int(self.smallest * side), 1)
        largest = max(int(self.largest * side), smallest + 1)
        start = int(place * max(side - smallest, 1))
        return slice(start, min(start + smallest + int(length * (largest - smallest)), side))


def _by_view(drawn: Tensor) -> Tensor:
    """Reorder what was drawn for each scan, ``(B, views, ...)``, as crops ``(views * B, ...)``."""
    return drawn.transpose(0, 1).flatten(0, 1)
