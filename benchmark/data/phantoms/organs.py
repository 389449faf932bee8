"""The organs of the upper abdomen: the classes a network has to find."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms import liver
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
    without,
)
from medssl_bench.data.phantoms.trunk import Trunk


def layers(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield stomach, spleen, liver, kidneys, duodenum and pancreas."""
    yield from _stomach(frame, body)
    yield from _spleen(frame, body)
    yield from liver.layers(frame, body)
    yield from _kidney(frame, body, "right_kidney", (59.0, -43.0, -30.0))
    yield from _kidney(frame, body, "left_kidney", (-61.0, -41.0, -16.0))
    yield from _pancreas(frame, body)


def _stomach(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("stomach")
    drop = rng.uniform(-22, 8)
    nominal: list[Point] = [
        (-54, -10, 64),
        (-62, 18, 42),
        (-50, 44, 12 + drop),
        (-10, 54, -4 + drop),
        (26, 36, 2 + 0.4 * drop),
    ]
    points = curve([moved(rng, point, 5) for point in nominal], 3)
    size = rng.uniform(0.72, 1.15)
    radii = taper([28 * size, 31 * size, 26 * size, 19 * size, 11], len(points))
    box = frame.box(*bounds(points, 40))
    at = frame.at(box)
    outer = np.maximum(tube(at, points, radii) + 1.5 * frame.bumps[box], body.abdomen(box, 5))
    yield frame.layer("visceral_fat", box, outer - 1)
    yield frame.layer("stomach_wall", box, outer, "stomach")
    inner = outer + rng.uniform(4, 6) + frame.lobules[box]
    yield frame.layer(str(rng.choice(["chyme", "food", "food", "opaque"])), box, inner, "stomach")
    level = rng.uniform(35, 75)  # gas collects in front: the patient lies on the back
    yield frame.layer("gas", box, np.maximum(inner + 1, level - at[1]), "stomach")


def _spleen(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("spleen")
    size = rng.uniform(0.85, 1.2)
    centre = moved(rng, (-94, -32, 32), 5)
    box = frame.around(centre, 75)
    at = frame.at(box)
    turn = (rng.normal(0.35, 0.15), rng.normal(0, 0.15), rng.normal(0.3, 0.15))
    outer = ellipsoid(at, centre, scaled((34, 48, 56), size), turn)
    hilum = (centre[0] + 38 * size, centre[1] + 16, centre[2] + rng.normal(0, 6))
    shape = without(outer, ellipsoid(at, hilum, scaled((30, 36, 44), size), turn), 8)
    shape = np.maximum(shape + 1.2 * frame.bumps[box], body.abdomen(box, 4))
    yield frame.layer("visceral_fat", box, shape - 1)
    yield frame.layer("spleen", box, shape, "spleen")


def _kidney(frame: Frame, body: Trunk, organ: str, nominal: Point) -> Iterator[Layer]:
    rng = frame.rng(organ)
    side = 1.0 if nominal[0] > 0 else -1.0
    size = rng.uniform(0.88, 1.1)
    centre = moved(rng, nominal, 4.5)
    turn = (rng.normal(-0.15, 0.08), -side * rng.uniform(0.1, 0.35), side * rng.uniform(0.3, 0.7))
    box = frame.around(centre, 72)
    at = frame.at(box)
    outer = ellipsoid(at, centre, scaled((28, 25.5, 56), size), turn) + 1.2 * frame.bumps[box]
    inner: Point = (centre[0] - side * 17, centre[1] + 10, centre[2])
    hilum = ellipsoid(at, inner, (17 * size, 13, 21), turn) + 1.5 * frame.lobules[box]
    shape = np.maximum(without(outer, hilum, 4), body.cavity[box] + 3)
    yield frame.layer("visceral_fat", box, outer - 2.5)
    yield frame.layer("renal_cortex", box, shape, organ)
    pyramids = np.maximum(shape + 6.5 + 2.5 * frame.lobules[box], -hilum - 18)
    yield frame.layer("renal_medulla", box, pyramids, organ)
    yield frame.layer("urine", box, np.maximum(hilum + 7, outer), "")
    if rng.random() < 0.3:
        radius = rng.uniform(6, 14)
        spot = (centre[0] + side * 18, centre[1] - 6, centre[2] + rng.uniform(-30, 30))
        cyst = ellipsoid(at, spot, (radius, radius, radius))
        yield frame.layer("cyst", box, np.maximum(cyst, body.cavity[box] + 2), organ)


def _pancreas(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("pancreas")
    shift = moved(rng, (0, 0, 0), 4)
    head: list[Point] = [(32, 2, -20), (25, 8, -2), (4, 19, 5), (-24, 14, 13), (-62, -12, 28)]
    nominal: list[Point] = [(x + shift[0], y + shift[1], z + shift[2]) for x, y, z in head]
    points = curve([moved(rng, point, 3.5) for point in nominal], 3)
    loop = curve([(28, 32, 2), (48, 10, 0), (50, 0, -28), (34, -8, -46), (-6, -12, -42)], 2)
    loop = [moved(rng, (x + shift[0], y + shift[1], z + shift[2]), 1.5) for x, y, z in loop]
    box = frame.box(*bounds(loop, 15))
    duodenum = tube(frame.at(box), loop, taper([11, 10], len(loop))) + frame.lobules[box]
    yield frame.layer("visceral_fat", box, duodenum - 0.5)
    yield frame.layer("bowel_wall", box, duodenum)
    yield frame.layer("chyme", box, duodenum + 4)
    size = rng.uniform(0.85, 1.15)
    radii = taper([15 * size, 15 * size, 9.5 * size, 11.5 * size, 10 * size], len(points))
    box = frame.box(*bounds(points, 22))
    shape = tube(frame.at(box), points, radii) + 1.8 * frame.lobules[box]
    shape = np.maximum(shape, body.abdomen(box, 5))
    yield frame.layer("visceral_fat", box, shape - 0.8)
    yield frame.layer("pancreas", box, shape, "pancreas")
    splenic = [(x, y - 9 * size, z + 2) for x, y, z in points[4:]]
    box = frame.box(*bounds(splenic, 8))
    yield frame.layer("portal", box, tube(frame.at(box), splenic, taper([4.5, 3.5], len(splenic))))
