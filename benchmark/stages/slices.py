"""Example pictures: one slice with the reference and the prediction laid over the anatomy."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Array = NDArray[Any]
WIDTH, GAP = 200, 4
"""Pixels of one of the three tiles of a picture, and between them."""
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
    image: Array, reference: Array, prediction: Array, spacing: tuple[float, float, float]
) -> bytes:
    """Draw image, reference and prediction side by side as PNG bytes.

    Args:
        image: ``(X, Y, Z)`` in [0, 1], RAS.
        reference: Labels ``(X, Y, Z)``.
        prediction: Labels ``(X, Y, Z)``.
        spacing: mm per voxel.

    The axial slice with the most classes, then the most reference voxels, is shown as
    radiologists look at it: patient's right on the left, anterior at the top.
    """
    from PIL import Image

    z = _richest_slice(reference)
    plane = np.clip(image[:, :, z].astype(np.float32), 0, 1)
    panels = [
        paint(plane, None),
        paint(plane, reference[:, :, z]),
        paint(plane, prediction[:, :, z]),
    ]
    width = WIDTH
    height = max(round(width * plane.shape[1] * spacing[1] / (plane.shape[0] * spacing[0])), 1)
    tiles = []
    for panel in panels:
        turned = np.ascontiguousarray(np.flip(panel.transpose(1, 0, 2), (0, 1)))
        tiles.append(Image.fromarray(turned).resize((width, height), Image.Resampling.BICUBIC))
    sheet = Image.new("RGB", (3 * width + 2 * GAP, height), "black")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index * (width + GAP), 0))
    stream = io.BytesIO()
    sheet.quantize(128).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def tiles(picture: Image.Image) -> list[Image.Image]:
    """Cut a picture that :func:`overlay` made into image, reference and prediction."""
    return [
        picture.crop((place * (WIDTH + GAP), 0, place * (WIDTH + GAP) + WIDTH, picture.height))
        for place in range(3)
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
