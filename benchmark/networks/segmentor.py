"""The fine-tuning network: an encoder and a U-shaped convolutional decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from medssl_bench.errors import BenchError
from medssl_bench.networks.convolutions import ResBlock, UpBlock
from medssl_bench.networks.encoder import Encoder

Norm = Literal["batch", "instance"]


class Segmentor(nn.Module):
    """Decoder of paper 004 (section 3.3.2) and of MONAI's ``SwinUNETR`` around any encoder.

    Skips are residual blocks on the image and on the first level of each stride, but the second
    coarsest level is used raw and the coarsest goes through a bottleneck block. Module names are
    ``SwinUNETR``'s (``encoder1`` on the image ... ``decoder1`` to full resolution, ``out``).
    """

    def __init__(
        self,
        encoder: Encoder,
        in_channels: int,
        out_channels: int,
        norm: Norm = "batch",
        stem_width: int | None = None,
    ) -> None:
        """Build around ``encoder``.

        Args:
            encoder: strides of its levels double from 2.
            in_channels: channels of the image.
            out_channels: classes of the logits, background included.
            norm: ``batch`` (paper 004) or ``instance`` (MONAI; no weights).
            stem_width: channels at full resolution; None takes those at stride 2.

        Raises:
            BenchError: the encoder sees other channels, its strides do not double, or no such norm.
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
        widths = [stem_width or pyramid[0].channels, *(level.channels for level in pyramid)]
        self.encoder1 = ResBlock(in_channels, widths[0], norm)
        for i, width in enumerate(widths[1:-2]):
            self.add_module(f"encoder{i + 2}", ResBlock(width, width, norm))
        self.encoder10 = ResBlock(widths[-1], widths[-1], norm)
        for i, (low, high) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            self.add_module(f"decoder{i + 1}", UpBlock(high, low, norm))
        self.out = nn.Conv3d(widths[0], out_channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(B, K, D, H, W)`` of an image ``(B, C, D, H, W)``.

        Raises:
            BenchError: a side is no multiple of the encoder's total stride.
        """
        multiple = self.encoder.total_stride
        if any(side % multiple for side in image.shape[2:]):
            raise BenchError(
                f"crop of {tuple(image.shape[2:])} voxels: every side must be a multiple of"
                f" {multiple} for this backbone"
            )
        features = self.encoder(image)
        *shallow, raw, deepest = [features[name] for name in self.maps]
        skips = [self.encoder1(image)]
        skips += [getattr(self, f"encoder{i + 2}")(level) for i, level in enumerate(shallow)]
        skips.append(raw)
        up = self.encoder10(deepest)
        for i in reversed(range(len(skips))):
            up = getattr(self, f"decoder{i + 1}")(up, skips[i])
        logits: Tensor = self.out(up)
        return logits

    def load_encoder(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load pretrained encoder weights; every name and shape must fit.

        Raises:
            BenchError: names or shapes differ.
        """
        from medssl_bench.networks.convert import load_strictly

        load_strictly(self.encoder, state)
