"""The great vessels: aorta, iliac arteries, caval and portal veins, mesenteric vessels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import Point, bounds, curve, taper, tube
from medssl_bench.data.phantoms.skeleton import spine_y


def layers(frame: Frame) -> Iterator[Layer]:
    """Yield the veins, then the arteries; of these the aorta is a class."""
    rng = frame.rng("vessels")
    fork = rng.uniform(-84, -66)
    yield from _veins(frame, rng, fork)
    yield from _arteries(frame, rng, fork)


def _front_of_spine(z: float, gap: float) -> float:
    return float(spine_y(np.array([z], np.float32))[0]) + gap


def _pipe(
    frame: Frame, tissue: str, path: list[Point], radii: list[float], organ: str = ""
) -> Iterator[Layer]:
    points = curve(path, 3)
    box = frame.box(*bounds(points, max(radii) + 2))
    shape = tube(frame.at(box), points, taper(radii, len(points)))
    yield frame.layer(tissue, box, shape, organ)


def _veins(frame: Frame, rng: np.random.Generator, fork: float) -> Iterator[Layer]:
    radius = rng.uniform(8.5, 12)
    cava: list[Point] = [
        (12, _front_of_spine(fork - 8, 24), fork - 8),
        (16, _front_of_spine(-30, 25), -30),
        (18, _front_of_spine(20, 28), 20),
        (18, -20, 62),
        (8, -4, 98),
    ]
    yield from _pipe(frame, "vein", cava, [radius, radius, 1.1 * radius])
    for side in (1.0, -1.0):
        iliac: list[Point] = [
            (10, _front_of_spine(fork - 8, 22), fork - 8),
            (side * 36, -28, -128),
            (side * 58, 16, -190),
        ]
        yield from _pipe(frame, "vein", iliac, [6.5, 6])
    portal: list[Point] = [(10, 8, -40), (12, 9, -6), (18, 6, 8), (36, 8, 26)]
    yield from _pipe(frame, "portal", portal, [5, 6, 6.5])


def _arteries(frame: Frame, rng: np.random.Generator, fork: float) -> Iterator[Layer]:
    radius = rng.uniform(8.5, 12.5)
    sway = rng.normal(-9, 3)
    ends = (235.0, 110.0, 60.0, 10.0, -40.0, fork)
    aorta: list[Point] = [
        (sway + rng.normal(0, 1.5) - (6 if z > 80 else 0), _front_of_spine(z, 19 + radius), z)
        for z in ends
    ]
    end = aorta[-1]
    for side in (1.0, -1.0):
        iliac: list[Point] = [end, (side * 30, -24, -120), (side * 56, 22, -190)]
        yield from _pipe(frame, "artery", iliac, [0.6 * radius, 5.5, 4.5])
    mesenteric: list[Point] = [
        (sway, aorta[3][1] + radius, 8),
        (sway + 4, aorta[3][1] + radius + 14, -10),
        (0, 14, -60),
    ]
    yield from _pipe(frame, "artery", mesenteric, [3.5, 2.5])
    calcified = rng.random() < 0.35
    points = curve(aorta, 3)
    radii = taper([1.15 * radius, 1.05 * radius, radius, 0.9 * radius], len(points))
    box = frame.box(*bounds(points, 1.2 * radius + 2))
    shape = tube(frame.at(box), points, radii) + 0.4 * frame.bumps[box]
    yield frame.layer("muscle", box, shape - 0.5, "aorta")
    yield frame.layer("artery", box, shape + 1.0, "aorta")
    if calcified:
        plaque = np.maximum(np.abs(shape + 1) - 1.5, (1.6 - frame.lobules[box]) * 4)
        yield frame.layer("cortex_bone", box, plaque, None)
