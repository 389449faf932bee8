"""Bowel: loops that look like organs and are none of the classes, so that place and form matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import Point, bounds, curve, taper, tube
from medssl_bench.data.phantoms.trunk import Trunk

_COLON: dict[str, list[Point]] = {
    "ascending": [(84, 5, -125), (94, 2, -95), (96, -6, -60), (88, 2, -32)],
    "transverse": [(86, 22, -34), (50, 52, -48), (0, 58, -60), (-48, 50, -40), (-90, 10, -2)],
    "descending": [(-94, -14, -4), (-99, -22, -50), (-94, -10, -100), (-80, 0, -130)],
    "sigmoid": [(-78, 4, -132), (-48, 18, -148), (-18, -8, -138), (0, -32, -160), (0, -40, -215)],
}


def layers(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield small bowel, then colon, each with wall and contents."""
    yield from _small_bowel(frame, body)
    yield from _colon(frame, body)


def _small_bowel(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("small_bowel")
    opaque = rng.random() < 0.25
    for _ in range(int(rng.integers(20, 34))):
        start = rng.uniform((-68, 0, -135), (68, 52, -42))
        path = [start]
        for _ in range(3):
            path.append(path[-1] + rng.normal(0, 1, 3) * (24, 14, 15))
        points = curve([(float(x), float(y), float(z)) for x, y, z in path], 2)
        radius = rng.uniform(9, 14)
        box = frame.box(*bounds(points, radius + 2))
        loop = tube(frame.at(box), points, taper([radius, 0.85 * radius], len(points)))
        loop = np.maximum(loop + 0.8 * frame.lobules[box], body.cavity[box] + 5)
        yield frame.layer("visceral_fat", box, loop - 1.0)
        yield frame.layer("bowel_wall", box, loop)
        filling = rng.choice(["chyme", "bowel_wall", "opaque" if opaque else "chyme", "gas"])
        if filling != "bowel_wall":
            gap = 3.0 if filling != "gas" else 5.0
            yield frame.layer(str(filling), box, loop + gap)


def _colon(frame: Frame, body: Trunk) -> Iterator[Layer]:
    for part, nominal in _COLON.items():
        rng = frame.rng(part)
        moved = np.asarray(nominal) + rng.normal(0, 1, (len(nominal), 3)) * (5, 5, 8)
        if part == "transverse":
            moved[1:-1, 2] += rng.uniform(-25, 18)
        points = curve([(float(x), float(y), float(z)) for x, y, z in moved], 3)
        radius = rng.uniform(15, 22) * (0.8 if part in ("descending", "sigmoid") else 1.0)
        box = frame.box(*bounds(points, radius + 3))
        at = frame.at(box)
        wide = taper([radius, radius], len(points))
        folds = 1.6 * frame.lobules[box]
        loop = np.maximum(tube(at, points, wide) + folds, body.cavity[box] + 4)
        yield frame.layer("visceral_fat", box, loop - 1.5)
        yield frame.layer("bowel_wall", box, loop)
        yield frame.layer("faeces", box, loop + 3.0)
        level = float(np.mean([y for _, y, _ in points])) + rng.uniform(-10, 14)
        yield frame.layer("gas", box, np.maximum(loop + 4.0, level - at[1]))
