"""Findings that make a phantom belong to a class; the rest of its anatomy stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import ellipsoid, moved
from medssl_bench.data.phantoms.trunk import Trunk

Finding = Literal["mass"]


def layers(frame: Frame, body: Trunk, finding: Finding) -> Iterator[Layer]:
    """Yield the layers of a finding, which cover what is painted before."""
    if finding == "mass":
        yield from _mass(frame, body)


def _mass(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield a necrotic mass of 38 to 52 mm radius in the right lobe of the liver."""
    rng = frame.rng("mass")
    centre = moved(rng, (70, 4, 26), 10)
    radius = rng.uniform(38, 52)
    x, y, z = (float(radius * side) for side in rng.uniform(0.9, 1.1, 3))
    box = frame.around(centre, 1.2 * radius + 6)
    shape = ellipsoid(frame.at(box), centre, (x, y, z)) + 2.5 * frame.lobules[box]
    shape = shape.clip(min=body.abdomen(box, 4))
    yield frame.layer("metastasis", box, shape, "lesion")
    yield frame.layer("necrosis", box, shape + 0.35 * radius, "lesion")
