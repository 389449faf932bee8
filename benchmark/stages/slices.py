"""Example pictures: a slice of every channel, the reference and the prediction laid over it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[Any]
Triple = tuple[float, float, float]
WIDTH, GAP = 200, 4
"""Pixels of one of the tiles of a picture, and between them."""
# Okabe and Ito's colours, safe for colour-blind readers, then lighter tints of them.
COLOURS = np.array(
    [
        (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178),
        (213, 94, 0), (204, 121, 167), (255, 207, 115), (166, 219, 245), (115, 214, 188),
        (120, 190, 230), (245, 170, 110), (232, 188, 212), (180, 180, 180), (255, 255, 255),
    ],
    dtype=np.float32,
)  # fmt: skip


def overlay(
    images: Mapping[str, Array], reference: Array, prediction: Array, spacing: Triple
) -> bytes:
    """Draw every channel, then reference and prediction over the first of them, as PNG bytes.

    Args:
        images: Channel -> ``(X, Y, Z)`` in [0, 1], RAS; where there are several, each is named.
        reference: Labels ``(X, Y, Z)``.
        prediction: Labels ``(X, Y, Z)``.
        spacing: mm per voxel.

    The axial slice with the most classes, then the most reference voxels, is shown as
    radiologists look at it: patient's right on the left, anterior at the top.
    """
    from PIL import Image, ImageDraw

    z = _richest_slice(reference)
    planes = {
        name: np.clip(image[:, :, z].astype(np.float32), 0, 1) for name, image in images.items()
    }
    first = next(iter(planes.values()))
    panels = [paint(plane, None) for plane in planes.values()]
    panels += [paint(first, labels[:, :, z]) for labels in (reference, prediction)]
    height = max(round(WIDTH * first.shape[1] * spacing[1] / (first.shape[0] * spacing[0])), 1)
    names = [*planes] if len(planes) > 1 else []
    sheet = Image.new("RGB", (len(panels) * (WIDTH + GAP) - GAP, height), "black")
    draw = ImageDraw.Draw(sheet)
    for index, panel in enumerate(panels):
        turned = np.ascontiguousarray(np.flip(panel.transpose(1, 0, 2), (0, 1)))
        tile = Image.fromarray(turned).resize((WIDTH, height), Image.Resampling.BICUBIC)
        left = index * (WIDTH + GAP)
        sheet.paste(tile, (left, 0))
        if index < len(names):
            draw.text((left + 4, 3), names[index], fill="white")
    stream = io.BytesIO()
    sheet.quantize(128).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def tiles(picture: Image.Image) -> list[Image.Image]:
    """Cut a picture that :func:`overlay` made into its channels, reference and prediction."""
    return [
        picture.crop((left, 0, left + WIDTH, picture.height))
        for left in range(0, picture.width, WIDTH + GAP)
    ]


def _richest_slice(reference: Array) -> int:
    counts = [
        (len(np.unique(reference[:, :, z])), int(np.count_nonzero(reference[:, :, z])))
        for z in range(reference.shape[2])
    ]
    return max(range(len(counts)), key=counts.__getitem__)


def paint(plane: Array, labels: Array | None) -> NDArray[np.uint8]:
    """Grey image with labels in colour: filled at half strength, borders at full strength."""
    grey = np.repeat(plane[:, :, None] * 255, 3, axis=2)
    if labels is None:
        return grey.astype(np.uint8)
    inside = labels > 0
    colour = COLOURS[(labels.astype(int) - 1) % len(COLOURS)]
    border = np.zeros_like(inside)
    for axis in (0, 1):
        change = np.diff(labels, axis=axis) != 0
        before = [slice(None), slice(None)]
        after = [slice(None), slice(None)]
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        border[tuple(before)] |= change
        border[tuple(after)] |= change
    weight = np.where(inside, np.where(border, 1.0, 0.45), 0.0)[:, :, None]
    return np.asarray(grey * (1 - weight) + colour * weight).astype(np.uint8)
