"""What a backbone is: an encoder with named feature levels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from medssl_bench.errors import BenchError, did_you_mean

Config = TypeVar("Config")


@dataclass(frozen=True)
class Level:
    """One named feature map of an encoder: its channels and its stride in input voxels."""

    name: str
    channels: int
    stride: int


class Encoder(nn.Module):
    """Base of every backbone.

    ``levels`` lists the feature maps: first those a decoder takes, one for each stride, finest
    first; then others of the same strides, in the order of the forward pass. The coarsest is last.
    """

    levels: tuple[Level, ...]
    in_channels: int
    mask_channels: int = 0
    """Length of the mask token this encoder takes; 0 where it cannot mask its input."""

    @property
    def total_stride(self) -> int:
        """Every side of a crop must be a multiple of this."""
        return max(level.stride for level in self.levels)

    def level(self, stride: int) -> Level:
        """Return the level of this stride that is listed last; raises KeyError where none is."""
        found = [level for level in self.levels if level.stride == stride]
        if not found:
            raise KeyError(
                f"no feature level of stride {stride}: {[v.stride for v in self.levels]}"
            )
        return found[-1]

    def token_level(self, method: str) -> Level:
        """Return the level whose positions are a method's patch tokens: half the total stride.

        That is the map after the last but one merging, of stride 16 in the networks of paper 004,
        where SMIT attaches its heads. Raises BenchError, for ``method``, where there is none.
        """
        try:
            return self.level(self.total_stride // 2)
        except KeyError as error:
            raise BenchError(f"{method}: {error.args[0]}; choose another backbone") from error

    def pyramid(self) -> list[Level]:
        """Return the first level of each stride, finest first: what a decoder takes."""
        first: dict[int, Level] = {}
        for level in self.levels:
            first.setdefault(level.stride, level)
        return [first[stride] for stride in sorted(first)]

    def forward(
        self, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Encode ``image`` ``(B, C, D, H, W)`` to ``{level name: (B, c, d, h, w)}``.

        ``mask`` ``(B, d, h, w)`` bool on a grid that divides the token grid, True where hidden;
        it is enlarged to the token grid and hidden tokens become ``mask_token``
        ``(mask_channels,)``, a parameter that the method owns. An encoder without tokens hides
        voxels so, and ``mask_channels`` is its ``in_channels``.
        """
        raise NotImplementedError


def hide(tokens: Tensor, mask: Tensor, mask_token: Tensor | None) -> Tensor:
    """Replace hidden tokens by the mask token.

    Args:
        tokens: ``(B, D, H, W, C)``.
        mask: ``(B, d, h, w)`` bool, True where hidden; each side divides the token grid's.
        mask_token: ``(C,)``.

    Raises:
        BenchError: no mask token, or a mask whose grid does not divide the token grid.
    """
    if mask_token is None:
        raise BenchError("a masked input needs the method's mask token")
    for axis in (1, 2, 3):
        times, rest = divmod(tokens.shape[axis], mask.shape[axis])
        if rest:
            raise BenchError(
                f"a mask of {tuple(mask.shape[1:])} cells does not divide the token grid"
                f" {tuple(tokens.shape[1:4])}; choose another mask block or crop"
            )
        mask = mask.repeat_interleave(times, dim=axis)
    return torch.where(mask[..., None], mask_token.to(tokens.dtype), tokens)


def hide_voxels(image: Tensor, mask: Tensor | None, mask_token: Tensor | None) -> Tensor:
    """Replace hidden voxels of ``(B, C, D, H, W)`` by the mask token; see :func:`hide`."""
    if mask is None:
        return image
    return hide(image.permute(0, 2, 3, 4, 1), mask, mask_token).permute(0, 4, 1, 2, 3)


def changed(backbone: str, config: Config, options: dict[str, Any]) -> Config:
    """Return a backbone's configuration (a dataclass) with some of its fields changed.

    Raises:
        BenchError: an option that is no field; the nearest is offered.
    """
    known = [field.name for field in fields(config)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise BenchError(
                f"backbone {backbone}: no option {option!r}.{did_you_mean(option, known)}"
                f" Known: {', '.join(known)}"
            )
    return replace(config, **options)  # type: ignore[type-var]
