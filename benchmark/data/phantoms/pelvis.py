"""The soft organs of the lesser pelvis: bladder (a class), prostate or uterus."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import Point, ellipsoid
from medssl_bench.data.phantoms.trunk import Trunk


def layers(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield the gland or womb behind, then the bladder."""
    rng = frame.rng("pelvic_organs")
    if rng.random() < 0.5:
        centre: Point = (rng.normal(0, 2), 8.0, -214.0)
        radii: Point = (22, 17, 17)
    else:
        centre, radii = (rng.normal(0, 7), -2.0, -168.0), (25, 19, 30)
    box = frame.around(centre, 42)
    gland = ellipsoid(frame.at(box), centre, radii, (0.5, 0, 0)) + frame.bumps[box]
    yield frame.layer("gland", box, gland)
    fill = rng.uniform(0.72, 1.3)
    centre = (rng.normal(0, 3), 26 + rng.normal(0, 3), -188 + 14 * fill)
    box = frame.around(centre, 65)
    bladder = ellipsoid(frame.at(box), centre, (36 * fill, 28 * fill, 25 * fill))
    bladder = np.maximum(bladder + 1.2 * frame.bumps[box], body.cavity[box] + 5)
    yield frame.layer("visceral_fat", box, bladder - 2.5)
    yield frame.layer("muscle", box, bladder, "bladder")
    yield frame.layer("urine", box, bladder + rng.uniform(2.5, 4.5), "bladder")
