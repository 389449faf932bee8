"""The organs of the upper abdomen: the classes a network has to find."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms.fields import Box, Field
from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import (
    Point,
    bounds,
    curve,
    ellipsoid,
    taper,
    tube,
    union,
    without,
)
from medssl_bench.data.phantoms.trunk import Trunk


def layers(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield stomach, spleen, liver with vessels and lesions, kidneys, duodenum and pancreas."""
    yield from _stomach(frame, body)
    yield from _spleen(frame, body)
    yield from _liver(frame, body)
    yield from _kidney(frame, body, "right_kidney", (59.0, -43.0, -30.0))
    yield from _kidney(frame, body, "left_kidney", (-61.0, -41.0, -16.0))
    yield from _pancreas(frame, body)


def moved(rng: np.random.Generator, point: Point, spread: float) -> Point:
    """Move a point by a normal step of ``spread`` mm along each axis."""
    dx, dy, dz = (float(step) for step in rng.normal(0, spread, 3))
    return point[0] + dx, point[1] + dy, point[2] + dz


def _scaled(radii: Point, size: float) -> Point:
    return radii[0] * size, radii[1] * size, radii[2] * size


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
    yield frame.layer("visceral_fat", box, outer - 2)
    yield frame.layer("stomach_wall", box, outer, "stomach")
    inner = outer + rng.uniform(4, 6) + frame.lobules[box]
    yield frame.layer(str(rng.choice(["chyme", "food", "food", "opaque"])), box, inner, "stomach")
    level = rng.uniform(35, 75)  # gas collects in front: the patient lies on the back
    yield frame.layer("gas", box, np.maximum(inner + 1, level - at[1]), "stomach")


def _spleen(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("spleen")
    size = rng.uniform(0.82, 1.2)
    centre = moved(rng, (-97, -34, 34), 5)
    box = frame.around(centre, 75)
    at = frame.at(box)
    turn = (rng.normal(0.35, 0.15), rng.normal(0, 0.15), rng.normal(0.3, 0.15))
    outer = ellipsoid(at, centre, _scaled((30, 42, 50), size), turn)
    hilum = (centre[0] + 36 * size, centre[1] + 16, centre[2] + rng.normal(0, 6))
    shape = without(outer, ellipsoid(at, hilum, _scaled((31, 36, 42), size), turn), 8)
    shape = np.maximum(shape + 1.2 * frame.bumps[box], body.abdomen(box, 4))
    yield frame.layer("visceral_fat", box, shape - 2)
    yield frame.layer("spleen", box, shape, "spleen")


def _liver(frame: Frame, body: Trunk) -> Iterator[Layer]:
    rng = frame.rng("liver")
    size = rng.uniform(0.9, 1.1)
    centre = moved(rng, (62, 6, 30), 5)
    box = frame.box((-110, -110, -110), (160, 120, 130))
    at = frame.at(box)
    right = ellipsoid(at, centre, _scaled((76, 80, 72), size), (0, rng.normal(0, 0.12), 0))
    lobe = moved(rng, (-6, 42, 46), 6)
    reach = rng.uniform(44, 72)
    left = ellipsoid(at, lobe, (reach, 30 * size, 33 * size), (0, -0.2, rng.normal(0.2, 0.1)))
    shape = union(right, left, 24)
    hollow = ellipsoid(at, (14, -34, -14), (46, 50, 54), (0, rng.normal(-0.4, 0.1), 0))
    shape = without(shape, hollow, 12)
    shape = without(shape, ellipsoid(at, moved(rng, (40, 40, -52), 6), (60, 40, 30)), 12)
    shape = np.maximum(shape + 1.6 * frame.bumps[box], body.abdomen(box, 3.5))
    yield frame.layer("visceral_fat", box, shape - 1.5)
    yield frame.layer("liver", box, shape, "liver")
    hilum: Point = (36.0, 8.0, 24.0)
    for tissue, root, width, count in (
        ("portal", hilum, 5.0, 6),
        ("vein", (18.0, -16.0, 66.0), 4.5, 5),
    ):
        for _ in range(count):
            yield from _branch(frame, rng, box, shape, tissue, root, width)
    yield from _gallbladder(frame, rng)
    yield from _lesions(frame, box, shape)


def _branch(
    frame: Frame,
    rng: np.random.Generator,
    liver_box: Box,
    liver: Field,
    tissue: str,
    root: Point,
    width: float,
) -> Iterator[Layer]:
    """A vessel from ``root`` to somewhere in the liver; it stays part of the liver's label."""
    tip = rng.uniform((-30, -40, 0), (125, 60, 80))
    middle = 0.5 * (np.asarray(root) + tip) + rng.normal(0, 7, 3)
    path = curve([root, *((float(x), float(y), float(z)) for x, y, z in (middle, tip))], 3)
    box = frame.box(*bounds(path, width + 1))
    inside = tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(box, liver_box, strict=True)
    )
    part = (inside[0], inside[1], inside[2])
    local = tuple(
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, liver_box, strict=True)
    )
    vessel = tube(frame.at(part), path, taper([width, 0.6 * width, 1.5], len(path)))
    within = liver[local[0], local[1], local[2]] + 2.0
    yield frame.layer(tissue, part, np.maximum(vessel, within), None)


def _gallbladder(frame: Frame, rng: np.random.Generator) -> Iterator[Layer]:
    if rng.random() < 0.15:  # taken out
        return
    centre = moved(rng, (46, 34, -8), 5)
    size = rng.uniform(0.7, 1.2)
    box = frame.around(centre, 36)
    shape = ellipsoid(frame.at(box), centre, _scaled((12, 13, 24), size), (0.6, 0.2, 0))
    yield frame.layer("bowel_wall", box, shape)
    yield frame.layer("bile", box, shape + 2)


def _lesions(frame: Frame, liver_box: Box, liver: Field) -> Iterator[Layer]:
    """Yield liver lesions: in four subjects of five, one to four of 7 to 20 mm radius."""
    rng = frame.rng("lesions")
    if rng.random() < 0.2:
        return
    tissue = str(rng.choice(["metastasis", "metastasis", "hypervascular"]))
    x, y, z = frame.at(liver_box)
    for _ in range(int(rng.integers(1, 5))):
        radius = rng.uniform(7, 20)
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
        shape = _inside(frame, shape, box, liver, liver_box)
        yield frame.layer(tissue, box, shape, "lesion")
        if radius > 13 and rng.random() < 0.6:
            yield frame.layer("necrosis", box, shape + 0.45 * radius, "lesion")


def _inside(frame: Frame, shape: Field, box: Box, liver: Field, liver_box: Box) -> Field:
    """Clip a shape on ``box`` by the liver, known on ``liver_box``."""
    whole = np.full(frame.grid.shape, 99, np.float32)
    whole[liver_box] = liver
    return np.maximum(shape, whole[box] + 1)


def _kidney(frame: Frame, body: Trunk, organ: str, nominal: Point) -> Iterator[Layer]:
    rng = frame.rng(organ)
    side = 1.0 if nominal[0] > 0 else -1.0
    size = rng.uniform(0.88, 1.1)
    centre = moved(rng, nominal, 4.5)
    turn = (rng.normal(-0.15, 0.08), -side * rng.uniform(0.1, 0.35), side * rng.uniform(0.3, 0.7))
    box = frame.around(centre, 72)
    at = frame.at(box)
    outer = ellipsoid(at, centre, _scaled((27, 24, 54), size), turn) + 1.2 * frame.bumps[box]
    inner: Point = (centre[0] - side * 17, centre[1] + 10, centre[2])
    hilum = ellipsoid(at, inner, (17 * size, 13, 21), turn) + 1.5 * frame.lobules[box]
    shape = np.maximum(without(outer, hilum, 4), body.cavity[box] + 3)
    yield frame.layer("visceral_fat", box, outer - 4)
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
    yield frame.layer("visceral_fat", box, duodenum - 1.5)
    yield frame.layer("bowel_wall", box, duodenum)
    yield frame.layer("chyme", box, duodenum + 4)
    size = rng.uniform(0.85, 1.15)
    radii = taper([15 * size, 15 * size, 9.5 * size, 11.5 * size, 10 * size], len(points))
    box = frame.box(*bounds(points, 22))
    shape = tube(frame.at(box), points, radii) + 1.8 * frame.lobules[box]
    shape = np.maximum(shape, body.abdomen(box, 5))
    yield frame.layer("visceral_fat", box, shape - 1.5)
    yield frame.layer("pancreas", box, shape, "pancreas")
    splenic = [(x, y - 9 * size, z + 2) for x, y, z in points[4:]]
    box = frame.box(*bounds(splenic, 8))
    yield frame.layer("portal", box, tube(frame.at(box), splenic, taper([4.5, 3.5], len(splenic))))
