"""More views of a scan, cut on the device out of the crops that are there already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from medssl_bench.method import Batch
    from medssl_bench.networks.encoder import Encoder


@dataclass(frozen=True)
class LocalCrops:
    """``count`` cubes of ``side`` voxels of each scan, each out of one of its views (DINO)."""

    count: int
    side: int

    @classmethod
    def fit(
        cls, method: str, encoder: Encoder, crop: tuple[int, int, int], count: int, side: int
    ) -> LocalCrops:
        """Raise BenchError, for ``method``, where such cubes fit neither crop nor backbone."""
        if count < 0:
            raise BenchError(f"{method}: local_crops={count} must be 0 or more")
        multiple = encoder.total_stride
        if count and (side <= 0 or side % multiple or side > min(crop)):
            raise BenchError(
                f"{method}: local_side={side} must be a multiple of {multiple} voxels with this"
                f" backbone, and within the crop {crop}"
            )
        return cls(count, side)

    def cut(self, batch: Batch, images: Tensor) -> Tensor:
        """Cut cubes out of ``images`` ``(views * B, C, D, H, W)``, the batch's crops.

        View and place are drawn uniformly for each cube. Returns ``(count * B, C, s, s, s)``: the
        first cube of every scan, then the second, and so on.
        """
        scans, size = len(batch.generators), images.shape[2:]
        draws = batch.draw(lambda scan: torch.rand(self.count, 4, generator=scan))
        cubes = []
        for number in range(self.count):
            for scan, (view, *places) in enumerate(draws[:, number].tolist()):
                image = images[int(view * len(batch.views)) * scans + scan]
                starts = [
                    int(place * (length - self.side + 1))
                    for place, length in zip(places, size, strict=True)
                ]
                x, y, z = (slice(start, start + self.side) for start in starts)
                cubes.append(image[:, x, y, z])
        return torch.stack(cubes).contiguous(memory_format=torch.channels_last_3d)
