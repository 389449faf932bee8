"""A case as a picture: axial slices of every channel with the label over them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl_bench.errors import DataError

if TYPE_CHECKING:
    from medssl_bench.task import Case, Corpus, Task

COLUMNS = 6
WIDTH = 220
"""Pixels of a slice."""
HEAD = 18
"""Pixels of a line of text."""


def contact_sheet(case: Case, owner: Task | Corpus) -> bytes:
    """Draw ``COLUMNS`` axial slices of each channel, plain and with the label, as PNG bytes.

    Slices are spread over the labelled part, or over the volume where nothing is labelled, and are
    seen as radiologists do: the patient's right on the left, anterior at the top.

    Raises:
        DataError: A file cannot be read, or a channel has another shape than the label.
    """
    from nibabel.orientations import aff2axcodes
    from PIL import Image, ImageDraw

    from medssl_bench.data.labels import class_ids
    from medssl_bench.data.orientation import to_ras
    from medssl_bench.data.preprocess import scale_intensity
    from medssl_bench.data.regrid import on_grid, ruling_source
    from medssl_bench.data.volume import Volume
    from medssl_bench.preparation import rules
    from medssl_bench.stages.slices import COLOURS, paint

    rule, terms = rules(owner, case)
    classes: dict[int, str] = terms.get("classes", {})
    # As in training, one channel's affine places all of a case.
    affine = ruling_source(case, rule, [*case.images]).header().affine
    of_class = "" if case.class_id is None else f" ({classes[case.class_id]})"
    label = None
    if case.label is not None:
        stored = to_ras(Volume(case.label.read().array, affine))
        try:
            label = class_ids(stored.array, terms["remap"], classes)
        except DataError as error:
            raise DataError(f"{case.label}: {error}") from None
    tiles: list[tuple[str, list[Any]]] = []
    for channel, source in case.images.items():
        volume = source.read()
        placed = on_grid(volume, case, channel, rule)
        ras = to_ras(Volume(placed.array, affine))
        if label is not None and ras.array.shape != label.shape:
            raise DataError(f"{source}: its shape is {ras.array.shape}, the label's {label.shape}")
        try:
            image = scale_intensity(ras.array, rule.intensity)
        except DataError as error:
            raise DataError(f"{source}: {error}") from None
        x, y, z = ras.header.spacing
        height = max(round(WIDTH * image.shape[1] * y / (image.shape[0] * x)), 1)
        codes = "".join(str(code) for code in aff2axcodes(volume.affine))
        shape = "x".join(map(str, image.shape))
        moved = "" if placed.array is volume.array else ", resampled"
        size = f"{shape} voxels of {x:.2f}x{y:.2f}x{z:.2f} mm"
        words = f"{case.id}{of_class}  {channel}  {size}, stored {codes}{moved}"
        for over in (None, label) if label is not None else (None,):
            row = []
            for place in _slices(label, image.shape[2]):
                plane = paint(image[:, :, place], None if over is None else over[:, :, place])
                turned = np.ascontiguousarray(np.flip(plane.transpose(1, 0, 2), (0, 1)))
                tile = Image.fromarray(turned).resize((WIDTH, height), Image.Resampling.BICUBIC)
                row.append((place, tile))
            tiles.append((words if over is None else "", row))
    legend = HEAD if label is not None else 0
    heights = [tiles_of_row[0][1].height + HEAD for _, tiles_of_row in tiles]
    sheet = Image.new("RGB", (COLUMNS * (WIDTH + 4), sum(heights) + legend), "black")
    draw, top = ImageDraw.Draw(sheet), 0
    for (words, row), height in zip(tiles, heights, strict=True):
        draw.text((4, top + 3), words, fill="white")
        for column, (place, tile) in enumerate(row):
            sheet.paste(tile, (column * (WIDTH + 4), top + HEAD))
            draw.text((column * (WIDTH + 4) + 4, top + HEAD + 2), f"z {place}", fill="yellow")
        top += height
    left = 4
    for number, name in classes.items():
        colour = tuple(int(value) for value in COLOURS[(number - 1) % len(COLOURS)])
        draw.text((left, top + 3), name, fill=colour)
        left += round(draw.textlength(name)) + 16
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _slices(label: np.ndarray[Any, Any] | None, depth: int) -> list[int]:
    """Return ``COLUMNS`` places (fewer in a thin volume) along the labelled part of the axis."""
    marked = np.flatnonzero(label.any((0, 1))) if label is not None else np.array([], dtype=int)
    low, high = (int(marked[0]), int(marked[-1])) if len(marked) else (0, depth - 1)
    return sorted({round(place) for place in np.linspace(low, high, COLUMNS)})
