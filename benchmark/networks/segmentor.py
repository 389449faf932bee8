"""The fine-tuning network: an encoder and a U-shaped convolutional decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.networks.convolutions import Pointwise, ResBlock, UpBlock
from medssl_bench.networks.encoder import Encoder

Norm = Literal["batch", "instance"]
Skips = Literal["blocks", "raw"]


class Segmentor(nn.Module):
    """Decoder of paper 004 (section 3.3.2) and of MONAI's ``SwinUNETR`` around any encoder.

    Skips are residual blocks on the image and on the first level of each stride, but the second
    coarsest level is used raw and the coarsest goes through a bottleneck block. Module names are
    ``SwinUNETR``'s (``encoder1`` on the image ... ``decoder1`` to full resolution, ``out``).

    With ``subpixel`` there are no convolutions at full resolution (no ``encoder1``, ``decoder1``),
    where most of the time goes: ``out`` predicts the 2^3 voxels of each token of stride 2.

    With ``skips="raw"`` it is BrainMVP's decoder (paper 003's code): feature maps are skipped as
    they are, and the image through one 3^3 convolution and a LayerNorm. ``deep_supervision`` adds
    that code's logits of strides 4 and 2, which only training sees.
    """

    def __init__(
        self,
        encoder: Encoder,
        in_channels: int,
        out_channels: int,
        norm: Norm = "batch",
        subpixel: bool = False,
        skips: Skips = "blocks",
        deep_supervision: bool = False,
    ) -> None:
        """Build around ``encoder``.

        Args:
            encoder: strides of its levels double from 2.
            in_channels: channels of the image.
            out_channels: classes of the logits, background included.
            norm: ``batch`` (paper 004) or ``instance`` (MONAI; no weights).
            subpixel: predict the voxels of each token at stride 2 (for small machines).
            skips: ``blocks``: through residual blocks (paper 004); ``raw`` (paper 003).
            deep_supervision: in training, put out logits of strides 4 and 2, too.

        Raises:
            BenchError: the encoder sees other channels, its strides do not double or are too few
                for deep supervision, or no such norm.
        """
        super().__init__()
        if encoder.in_channels != in_channels:
            raise BenchError(
                f"the encoder takes {encoder.in_channels} channels, the images have {in_channels}"
            )
        if norm not in ("batch", "instance"):
            raise BenchError(f"norm {norm!r}: 'batch' or 'instance'")
        pyramid = encoder.pyramid()
        strides = [level.stride for level in pyramid]
        if strides != [2 ** (i + 1) for i in range(len(pyramid))]:
            raise BenchError(
                f"this decoder needs feature levels of strides 2, 4, ..., not {strides}"
            )
        self.encoder = encoder
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.maps = [level.name for level in pyramid]
        self.subpixel = subpixel
        widths = [pyramid[0].channels, *(level.channels for level in pyramid)]
        if deep_supervision and (subpixel or len(pyramid) < 3):
            raise BenchError(
                "deep supervision takes logits of strides 4 and 2 beside the last ones: three"
                " feature levels or more, and no subpixel"
            )
        if not subpixel:
            first = ResBlock(in_channels, widths[0], norm)
            self.encoder1 = first if skips == "blocks" else _ImageSkip(in_channels, widths[0])
        for i, width in enumerate(widths[1:-2]):
            self.add_module(f"encoder{i + 2}", _skip(skips, width, norm))
        self.encoder10 = _skip(skips, widths[-1], norm)
        for i, (low, high) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            if i or not subpixel:
                self.add_module(f"decoder{i + 1}", UpBlock(high, low, norm))
        self.out = Pointwise(widths[0], out_channels * (8 if subpixel else 1), bias=True)
        self.deep: nn.ModuleDict | None = None
        if deep_supervision:
            self.deep = nn.ModuleDict(
                {str(2**i): Pointwise(widths[i], out_channels, bias=True) for i in (2, 1)}
            )

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits ``(B, K, D, H, W)`` of an image ``(B, C, D, H, W)``.

        With deep supervision, in training, three of them: after the last those of strides 4 and 2,
        interpolated to full resolution.

        Raises:
            BenchError: a side is no multiple of the encoder's total stride.
        """
        check_sides(self.encoder, image)
        features = self.encoder(image)
        *shallow, raw, deepest = [features[name] for name in self.maps]
        up = self.decoder(len(self.maps))(self.encoder10(deepest), raw)
        deep = [*self._deep_logits(len(shallow) + 1, up)]
        for i in reversed(range(len(shallow))):
            up = self.decoder(i + 2)(up, getattr(self, f"encoder{i + 2}")(shallow[i]))
            deep += self._deep_logits(i + 1, up)
        if self.subpixel:
            return spread(self.out(up))
        logits: Tensor = self.out(self.decoder(1)(up, self.encoder1(image)))
        return (logits, *deep) if deep else logits

    def _deep_logits(self, halvings: int, up: Tensor) -> list[Tensor]:
        """Return the logits of the decoder's map of stride ``2 ** halvings``, if they are taken."""
        if self.deep is None or not self.training or str(2**halvings) not in self.deep:
            return []
        coarse = self.deep[str(2**halvings)](up).float()
        size = [side * 2**halvings for side in coarse.shape[2:]]
        return [functional.interpolate(coarse, size, mode="trilinear", align_corners=True)]

    def decoder(self, number: int) -> UpBlock:
        """Return ``decoder{number}``; 1 reaches full resolution, 2 stride 2, and so on."""
        block: UpBlock = getattr(self, f"decoder{number}")
        return block

    def load_encoder(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load pretrained encoder weights; every name and shape must fit.

        Raises:
            BenchError: names or shapes differ.
        """
        from medssl_bench.networks.convert import load_strictly

        load_strictly(self.encoder, state)


class _ImageSkip(nn.Module):
    """A 3^3 convolution and a LayerNorm over channels, on the image."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, width, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        rows = self.proj(image).permute(0, 2, 3, 4, 1)
        return self.norm(rows).permute(0, 4, 1, 2, 3)


def _skip(kind: Skips, width: int, norm: Norm) -> nn.Module:
    return ResBlock(width, width, norm) if kind == "blocks" else nn.Identity()


def check_sides(encoder: Encoder, image: Tensor) -> None:
    """Raise BenchError where a side of ``(B, C, D, H, W)`` is no multiple of the total stride."""
    multiple = encoder.total_stride
    if any(side % multiple for side in image.shape[2:]):
        raise BenchError(
            f"crop of {tuple(image.shape[2:])} voxels: every side must be a multiple of"
            f" {multiple} for this backbone"
        )


def spread(voxels: Tensor) -> Tensor:
    """Spread ``(B, 8 K, D, H, W)`` to ``(B, K, 2D, 2H, 2W)``, the 2^3 places outermost in 8 K."""
    b, channels, d, h, w = voxels.shape
    rows = voxels.permute(0, 2, 3, 4, 1).reshape(b, d, h, w, 2, 2, 2, channels // 8)
    rows = rows.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(b, 2 * d, 2 * h, 2 * w, -1)
    return rows.permute(0, 4, 1, 2, 3)
