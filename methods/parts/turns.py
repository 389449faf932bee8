"""Rotations of crops by quarter turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from medssl_bench.method import Batch

TURNS = 4
"""Classes: 0, 90, 180 and 270 degrees."""

Plane = Literal["sagittal", "coronal", "axial"]
"""The plane in which a crop turns, in the order of the axis that stays: R, A or S."""


@dataclass(frozen=True)
class QuarterTurns:
    """Turns by k * 90 degrees from the first towards the second of two axes of the crop."""

    axes: tuple[int, int]
    """Axes of ``(D, H, W)``, counted from the end."""

    @classmethod
    def fit(cls, method: str, crop: tuple[int, int, int], plane: Plane) -> QuarterTurns:
        """Turn in this plane; raises BenchError, for ``method``, where the crop is not square."""
        stays = get_args(Plane).index(plane)
        first, second = (axis for axis in range(3) if axis != stays)
        if crop[first] != crop[second]:
            raise BenchError(
                f"{method}: quarter turns in the {plane} plane need a crop that is square in it,"
                f" not {crop[first]} x {crop[second]} voxels of {crop}; set another crop or plane"
            )
        return cls((first - 3, second - 3))

    def draw(self, batch: Batch) -> Tensor:
        """Draw k for each crop of ``torch.cat(batch.views)``, on the CPU: ``(views * B,)``."""
        shape = (len(batch.views),)
        turns = batch.draw(lambda generator: torch.randint(TURNS, shape, generator=generator))
        return turns.transpose(0, 1).flatten()

    def apply(self, images: Tensor, turns: Tensor) -> Tensor:
        """Turn ``images`` ``(N, C, D, H, W)`` by their ``turns`` ``(N,)``, which are on the CPU."""
        pairs = zip(images, turns.tolist(), strict=True)
        return torch.stack([image.rot90(turn, self.axes) for image, turn in pairs])
