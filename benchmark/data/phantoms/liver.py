"""The liver with its vessels, the gallbladder, and the lesions that are a class of their own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms.fields import Field
from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import (
    Point,
    bounds,
    curve,
    ellipsoid,
    moved,
    scaled,
    taper,
    tube,
    union,
    without,
)
from medssl_bench.data.phantoms.trunk import Trunk


def layers(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield the liver, its vessels, the gallbladder and lesions."""
    rng = frame.rng("liver")
    size = rng.uniform(0.9, 1.08)
    centre = moved(rng, (64, 4, 30), 5)
    box = frame.box((-110, -110, -110), (160, 120, 130))
    at = frame.at(box)
    right = ellipsoid(at, centre, scaled((84, 88, 78), size), (0, rng.normal(0, 0.12), 0))
    lobe = moved(rng, (-6, 42, 46), 6)
    reach = rng.uniform(46, 80)
    left = ellipsoid(at, lobe, (reach, 32 * size, 36 * size), (0, -0.2, rng.normal(0.2, 0.1)))
    shape = union(right, left, 24)
    hollow = ellipsoid(at, (14, -34, -14), (46, 50, 54), (0, rng.normal(-0.4, 0.1), 0))
    shape = without(shape, hollow, 12)
    shape = without(shape, ellipsoid(at, moved(rng, (40, 40, -52), 6), (60, 40, 30)), 12)
    shape = np.maximum(shape + 1.6 * frame.bumps[box], body.abdomen(box, 3.5))
    yield frame.layer("liver", box, shape, "liver")
    liver = np.full(frame.grid.shape, 99, np.float32)
    liver[box] = shape
    hilum: Point = (36.0, 8.0, 24.0)
    for tissue, root, width, count in (
        ("portal", hilum, 5.0, 6),
        ("vein", (18.0, -16.0, 66.0), 4.5, 5),
    ):
        for _ in range(count):
            yield from _branch(frame, rng, liver, tissue, root, width)
    yield from _gallbladder(frame, rng)
    yield from _lesions(frame, liver)


def _branch(
    frame: Frame,
    rng: np.random.Generator,
    liver: Field,
    tissue: str,
    root: Point,
    width: float,
) -> Iterator[Layer]:
    """Yield a vessel from ``root`` into the liver; it stays part of the liver's label."""
    tip = rng.uniform((-30, -40, 0), (125, 60, 80))
    middle = 0.5 * (np.asarray(root) + tip) + rng.normal(0, 7, 3)
    path = curve([root, *((float(x), float(y), float(z)) for x, y, z in (middle, tip))], 3)
    box = frame.box(*bounds(path, width + 1))
    vessel = tube(frame.at(box), path, taper([width, 0.6 * width, 1.5], len(path)))
    yield frame.layer(tissue, box, np.maximum(vessel, liver[box] + 2), None)


def _gallbladder(frame: Frame, rng: np.random.Generator) -> Iterator[Layer]:
    if rng.random() < 0.15:  # taken out
        return
    centre = moved(rng, (46, 34, -8), 5)
    size = rng.uniform(0.7, 1.2)
    box = frame.around(centre, 36)
    shape = ellipsoid(frame.at(box), centre, scaled((12, 13, 24), size), (0.6, 0.2, 0))
    yield frame.layer("bowel_wall", box, shape)
    yield frame.layer("bile", box, shape + 2)


def _lesions(frame: Frame, liver: Field) -> Iterator[Layer]:
    """Yield liver lesions: in four subjects of five, one to four of 8 to 22 mm radius."""
    rng = frame.rng("lesions")
    if rng.random() < 0.2:
        return
    tissue = str(rng.choice(["metastasis", "metastasis", "hypervascular"]))
    x, y, z = frame.at(frame.grid.whole)
    for _ in range(int(rng.integers(1, 5))):
        radius = rng.uniform(8, 22)
        places = np.flatnonzero(liver < -0.6 * radius)
        if not len(places):
            continue
        place = places[int(rng.integers(len(places)))]
        centre = float(x.flat[place]), float(y.flat[place]), float(z.flat[place])
        stretch = rng.uniform(0.8, 1.2, 3)
        radii = tuple(float(radius * side) for side in stretch)
        box = frame.around(centre, radius * 1.4 + 3)
        at = frame.at(box)
        shape = ellipsoid(at, centre, (radii[0], radii[1], radii[2])) + 1.5 * frame.lobules[box]
        shape = np.maximum(shape, liver[box] + 1)
        yield frame.layer(tissue, box, shape, "lesion")
        if radius > 13 and rng.random() < 0.6:
            yield frame.layer("necrosis", box, shape + 0.45 * radius, "lesion")
