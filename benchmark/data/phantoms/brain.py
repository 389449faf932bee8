"""Anatomy of a brain phantom: what is where in a skull-stripped head, with a glioma or without.

Positions are in atlas mm around the middle of the brain: x to the patient's right, y to the front,
z upwards. Cortex, white matter, deep grey nuclei, ventricles, cerebellum, brain stem and arteries
are those of an adult in rough measure; folds are a random field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

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

Grade = Literal["none", "low", "high"]
"""Of the glioma. ``low``: a core that takes up no contrast medium. ``high``: a rim that does,
mostly around necrosis."""

CEREBRUM: Point = (66.0, 84.0, 60.0)
"""Half axes in mm."""
_SIDES = (-1, 1)

_NUCLEI: dict[str, tuple[Point, Point]] = {
    "thalamus": ((11, -10, 2), (9, 14, 9)),
    "putamen": ((26, 8, 0), (6, 17, 11)),
    "caudate": ((14, 18, 12), (5, 13, 8)),
}
"""Centre on the right and half axes."""
_VENTRICLE: list[Point] = [(8, 30, 8), (9, 14, 18), (12, -8, 21), (17, -28, 14), (21, -42, 4)]
_ARTERIES: list[list[Point]] = [
    [(7, -2, -26), (24, 4, -22), (44, 2, -10), (55, -8, 8), (56, -24, 24)],  # middle cerebral
    [(4, 8, -22), (3, 36, -8), (3, 44, 18), (3, 14, 44), (3, -20, 46)],  # anterior cerebral
    [(2, -18, -26), (16, -28, -20), (20, -50, -12), (16, -68, 2)],  # posterior cerebral
]


def layers(frame: Frame, grade: Grade) -> Iterator[Layer]:
    """Yield the layers of a head; later ones cover earlier ones."""
    whole = frame.grid.whole
    inside = intracranial(frame)
    folds = frame.lobules[whole]
    yield frame.layer("csf", whole, inside)
    cortex = without(inside + 2.5 + 2.5 * folds, _fissure(frame), 2.0)
    yield frame.layer("grey_matter", whole, cortex)
    yield frame.layer("white_matter", whole, cortex + 5.5 + 2.5 * folds)
    yield from _nuclei(frame)
    yield from _ventricles(frame)
    yield from _arteries(frame)
    if grade != "none":
        yield from glioma(frame, inside, grade)


def intracranial(frame: Frame) -> Field:
    """Signed distance to cerebrum, cerebellum and brain stem together."""
    at = frame.at(frame.grid.whole)
    cerebrum = ellipsoid(at, (0, 0, 4), CEREBRUM)
    cerebellum = ellipsoid(at, (0, -46, -42), (44, 28, 24))
    stem = tube(at, [(0, -18, -18), (0, -26, -46), (0, -30, -66)], [15, 13, 9])
    return union(union(cerebrum, cerebellum, 6.0), stem, 6.0)


def _fissure(frame: Frame) -> Field:
    """Signed distance to the cleft between the hemispheres, above the corpus callosum."""
    x, y, z = frame.at(frame.grid.whole)
    roof = ellipsoid((x, y, z), (0, -4, 0), (200, 48, 26))
    return np.maximum(np.abs(x) - np.float32(1.5), -roof)


def _nuclei(frame: Frame) -> Iterator[Layer]:
    rng = frame.rng("nuclei")
    for centre, radii in _NUCLEI.values():
        size = float(rng.uniform(0.9, 1.1))
        for side in _SIDES:
            middle = moved(rng, (side * centre[0], centre[1], centre[2]), 0.7)
            box = frame.around(middle, max(radii) * size + 2)
            shape = ellipsoid(frame.at(box), middle, scaled(radii, size))
            yield frame.layer("deep_grey", box, shape)


def _ventricles(frame: Frame) -> Iterator[Layer]:
    """Yield lateral ventricles and the third one; their width varies most between subjects."""
    rng = frame.rng("ventricles")
    width = float(rng.uniform(3.5, 7.5))
    for side in _SIDES:
        path = curve([(side * x, y, z) for x, y, z in _VENTRICLE])
        box = frame.box(*bounds(path, width + 3))
        radii = taper((width * 0.8, width, width * 1.1, width * 0.5), len(path))
        yield frame.layer("csf", box, tube(frame.at(box), path, radii))
    box = frame.around((0, -8, 2), 16)
    third = ellipsoid(frame.at(box), (0, -8, 2), (0.45 * width, 12, 9))
    yield frame.layer("csf", box, third)


def _arteries(frame: Frame) -> Iterator[Layer]:
    rng = frame.rng("arteries")
    paths = [
        [moved(rng, (side * x, y, z), 1.2) for x, y, z in path]
        for path in _ARTERIES
        for side in _SIDES
    ]
    paths.append([(0, -20, -62), (0, -16, -44), (0, -16, -26)])  # basilar
    for path in paths:
        course = curve(path)
        box = frame.box(*bounds(course, 6))
        radii = taper((2.6, 1.5), len(course))
        yield frame.layer("artery", box, tube(frame.at(box), course, radii))


def glioma(frame: Frame, inside: Field, grade: Grade) -> Iterator[Layer]:
    """Yield oedema, tumour and what is inside it, of one hemisphere's white matter."""
    rng = frame.rng("glioma")
    side = int(rng.choice(_SIDES))
    centre = (side * rng.uniform(20, 40), rng.uniform(-40, 38), rng.uniform(-8, 30))
    size = float(rng.uniform(11, 20))
    reach = size + (rng.uniform(7, 16) if grade == "high" else rng.uniform(2, 6))
    turn = (float(rng.uniform(0, 3)), float(rng.uniform(0, 3)), float(rng.uniform(0, 3)))
    box = frame.around(centre, 1.4 * reach + 6)
    at, rough, edge = frame.at(box), frame.bumps[box], inside[box] + np.float32(4)
    stretch = (1.2, 1.0, 0.85)
    halo = ellipsoid(at, centre, scaled(stretch, reach), turn) + np.float32(2.5) * rough
    mass = ellipsoid(at, centre, scaled(stretch, size), turn) + np.float32(1.2) * rough
    yield frame.layer("oedema", box, np.maximum(halo, edge), "oedema", within=0.9)
    mass = np.maximum(mass, edge)
    if grade == "low":
        yield frame.layer("tumour", box, mass, "core")
        return
    yield frame.layer("enhancing", box, mass, "enhancing")
    rim = float(rng.uniform(2.5, 5.0))
    if rng.random() < 0.85:
        necrosis = mass + np.float32(rim) + np.float32(1.0) * frame.lobules[box]
        yield frame.layer("necrosis", box, necrosis, "core")
