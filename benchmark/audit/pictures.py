"""Pairs of an audit as pictures: the test case above, the volume that shows it below."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medssl_bench.data.orientation import to_ras
from medssl_bench.durable import temporary_name, write_durably
from medssl_bench.record import folder_name

if TYPE_CHECKING:
    from PIL.Image import Image

    from medssl_bench.audit.verdicts import Leak
    from medssl_bench.data.volume import Volume
    from medssl_bench.task import Case

HEIGHT = 240
"""Pixels of a row."""


def draw_pairs(
    leaks: Sequence[Leak], tests: Sequence[Case], others: Mapping[str, Sequence[Case]], folder: Path
) -> list[Path]:
    """Write a PNG for each pair; returns the files.

    Args:
        leaks: The pairs.
        tests: The task's cases.
        others: Corpus or ``train`` -> its volumes.
        folder: Where the pictures go; what is there is overwritten.

    Raises:
        DataError: A volume cannot be read.
    """
    by_id = {case.id: case for case in tests}
    written = []
    for leak in leaks:
        volume = next(case for case in others[leak.source] if case.id == leak.volume)
        rows = [_row(leak.case, by_id[leak.case]), _row(f"{leak.source}: {leak.volume}", volume)]
        path = folder / f"{folder_name(leak.case)}__{folder_name(leak.volume)}.png"
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = temporary_name(path)
        write_durably(unfinished, _stacked(rows))
        unfinished.replace(path)
        written.append(path)
    return written


def _row(title: str, case: Case) -> Image:
    """Draw the three middle planes of a case's first channel, in mm, under its name."""
    from PIL import Image, ImageDraw

    volume = to_ras(next(iter(case.images.values())).read())
    planes = [_plane(volume, axis) for axis in (2, 1, 0)]
    row = Image.new("L", (sum(plane.width for plane in planes) + 8, HEIGHT + 18))
    left = 0
    for plane in planes:
        row.paste(plane, (left, 18))
        left += plane.width + 4
    ImageDraw.Draw(row).text((4, 3), title, fill=255)
    return row


def _plane(volume: Volume, axis: int) -> Image:
    """Return the middle plane across an axis, from the 1st to the 99th percentile."""
    from PIL import Image

    plane = np.take(volume.array, volume.array.shape[axis] // 2, axis).astype(np.float32)
    sides = [side for index, side in enumerate(volume.header.spacing) if index != axis]
    low, high = np.percentile(np.nan_to_num(plane), (1, 99))
    shades = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
    picture = Image.fromarray(np.flip(shades.T, 0 if axis != 2 else (0, 1)).astype(np.uint8))
    width = plane.shape[0] * sides[0] / (plane.shape[1] * sides[1]) * HEIGHT
    return picture.resize((max(1, round(width)), HEIGHT), Image.Resampling.BICUBIC)


def _stacked(rows: Sequence[Image]) -> bytes:
    from PIL import Image

    sheet = Image.new("L", (max(row.width for row in rows), sum(row.height for row in rows)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()
