"""The skeleton: ribs, sternum, spine, sacrum, hip bones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms.fields import Box, Field
from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import ellipsoid
from medssl_bench.data.phantoms.trunk import Trunk

_RIB_PERIOD = 25.0
_VERTEBRA_PERIOD = 34.0


def spine_y(z: Field) -> Field:
    """Front-back position (mm) of the vertebral bodies' centres: the lumbar lordosis."""
    return -60 + 9 / (1 + ((z + 70) / 55) ** 2)


def layers(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield the bones: a cortical shell around marrow."""
    yield from _ribs(frame, body)
    yield from _spine(frame, body)
    yield from _pelvis(frame)


def _bone(frame: Frame, box: Box, distance: Field, shell: float = 2.5) -> Iterator[Layer]:
    yield frame.layer("cortex_bone", box, distance)
    yield frame.layer("marrow", box, distance + shell)


def _ribs(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("ribs")
    box = frame.box((-180, -130, -60), (180, 130, 230))
    x, y, z = frame.at(box)
    tilt = z + rng.uniform(0.6, 0.8) * y + rng.uniform(0, _RIB_PERIOD)
    along = np.mod(tilt, np.float32(_RIB_PERIOD)) - np.float32(_RIB_PERIOD / 2)
    depth = (body.cavity[box] - 5) / 4.2
    rib = (np.sqrt(depth**2 + (along / 5.4) ** 2) - 1) * 4.6
    margin = -42 + 1.25 * np.maximum(y + 25, 0) - z
    front = np.maximum(y - 0.9 * np.abs(x), 0) - 26
    yield from _bone(frame, box, np.maximum(np.maximum(rib, margin * 0.6), front))
    yield frame.layer("cartilage", box, np.maximum(np.maximum(rib, margin * 0.6), -front))
    sternum = np.maximum(np.abs(body.cavity[box] - 6) - 5, np.abs(x) - 17)
    yield from _bone(frame, box, np.maximum(np.maximum(sternum, 72 - z), 20 - y), 2.0)


def _spine(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("spine")
    box = frame.box((-50, -128, -150), (50, -22, 230))
    x, y, z = frame.at(box)
    back = y - spine_y(z)
    phase = np.mod(z + rng.uniform(0, _VERTEBRA_PERIOD), np.float32(_VERTEBRA_PERIOD))
    disc = np.abs(phase - np.float32(_VERTEBRA_PERIOD / 2)) - 13.5
    width = 21 - 0.03 * z
    waist = 1 + 0.10 * np.abs(disc + 13.5) / 13.5
    column = (np.sqrt((x / width) ** 2 + (back / (0.74 * width)) ** 2) - waist) * 17
    ends = -140 - z
    yield frame.layer("disc", box, np.maximum(column, ends))
    yield from _bone(frame, box, np.maximum(np.maximum(column, disc), ends))
    arch = np.sqrt(x**2 + (back + 25) ** 2) - 14
    laminae = np.maximum(np.maximum(arch, disc - 1), ends)
    yield from _bone(frame, box, laminae)
    yield frame.layer("canal", box, np.maximum(np.maximum(arch + 6, back + 15), ends))
    spinous = np.maximum(np.abs(x) - 3.5, np.maximum(np.abs(back + 43) - 12, disc + 4))
    across = np.maximum(np.abs(x) - 38, np.maximum(np.abs(back + 22) - 3.5, disc + 8))
    yield frame.layer(
        "cortex_bone", box, np.maximum(np.minimum(spinous, across), body.wall[box] + 2)
    )


def _pelvis(frame: Frame) -> Iterator[Layer]:
    rng = frame.rng("pelvis")
    size = rng.uniform(0.93, 1.08)
    box = frame.box((-62, -115, -215), (62, -25, -110))
    at = frame.at(box)
    sacrum = ellipsoid(at, (0, -66, -160), (46 * size, 19, 48), (0.35, 0, 0))
    yield from _bone(frame, box, sacrum + frame.bumps[box])
    for side in (1.0, -1.0):
        box = frame.box((min(0, side * 145), -95, -235), (max(0, side * 145), 60, -70))
        at = frame.at(box)
        wing = ellipsoid(
            at, (side * 96, -30, -132), (9, 52 * size, 52 * size), (0.2, side * 0.4, side * 0.45)
        )
        socket = ellipsoid(at, (side * 92, 6, -196), (30, 30, 30))
        yield from _bone(frame, box, np.minimum(wing, socket))
        head = ellipsoid(at, (side * 97, 6, -200), (23, 23, 23))
        yield frame.layer("cartilage", box, head - 3)
        yield from _bone(frame, box, head)
