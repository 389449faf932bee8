"""A learnable volume for each modality, of which crops are filled (BrainMVP's templates)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from medssl_bench.method import Place

Size = tuple[int, int, int]


class Templates(nn.Module):
    """Templates ``(modalities, 1, X, Y, Z)``, zero at first (paper 003, section 3.2).

    A volume's middle lies on that of the template, as in paper 003's code: voxel i of a volume of n
    is voxel ``i + (N - n) // 2`` of a template of N. What reaches beyond a template is zero.
    """

    def __init__(self, modalities: Sequence[str], shape: Size) -> None:
        """Build one template of ``shape`` voxels (R, A, S) for each modality."""
        super().__init__()
        self.modalities = tuple(modalities)
        self.volumes = nn.Parameter(torch.zeros(len(self.modalities), 1, *shape))

    def window(self, modality: str, place: Place, size: Size) -> Tensor:
        """Return ``(D, H, W)`` of a modality's template where a crop of ``size`` lies.

        It is scaled by the whole template's least and greatest value to [0, 1], as in paper 003's
        code at each use. To the gradient both are constants: otherwise a share of it would reach
        every voxel that no crop has met, and an adaptive optimizer moves those as far as any other.
        A template that is flat still is taken as it is; the code divides by 1e-9 then, which makes
        the first gradient so large that AdamW hardly moves those voxels again for the length of its
        memory.
        """
        template = self.volumes[self.modalities.index(modality), 0]
        low, high = template.detach().amin(), template.detach().amax()
        span = high - low
        scaled = (template - low) / torch.where(span > 0, span, torch.ones_like(span))
        return cut(scaled, offsets(place, template.shape), size)

    @torch.no_grad()
    def learned(self) -> dict[str, Tensor]:
        """Return the templates ``(X, Y, Z)`` that are not flat, scaled to [0, 1], by modality."""
        found = {}
        for modality, template in zip(self.modalities, self.volumes[:, 0], strict=True):
            low, high = template.amin(), template.amax()
            if high > low:
                found[modality] = (template - low) / (high - low)
        return found


def offsets(place: Place, whole: Sequence[int]) -> Size:
    """Return the voxel of a template of size ``whole`` at which a crop starts."""
    x, y, z = (
        at + (length - side) // 2
        for at, length, side in zip(place.start, whole, place.shape, strict=True)
    )
    return x, y, z


def cut(volume: Tensor, starts: Size, size: Size) -> Tensor:
    """Return ``size`` voxels of ``(X, Y, Z)`` from ``starts`` on, zero outside of it."""
    inner = [
        slice(min(max(at, 0), whole), max(min(at + extent, whole), 0))
        for at, extent, whole in zip(starts, size, volume.shape, strict=True)
    ]
    inside = volume[inner[0], inner[1], inner[2]]
    if tuple(inside.shape) == tuple(size):
        return inside
    before = [max(-at, 0) if n else 0 for at, n in zip(starts, inside.shape, strict=True)]
    margins = [
        (low, extent - low - n) for low, n, extent in zip(before, inside.shape, size, strict=True)
    ]
    return nn.functional.pad(inside, [side for pair in reversed(margins) for side in pair])
