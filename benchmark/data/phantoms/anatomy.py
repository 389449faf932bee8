"""The order in which a subject's tissues are painted: the hindmost first."""

from __future__ import annotations

from collections.abc import Iterator

from medssl_bench.data.phantoms import bowel, findings, organs, pelvis, skeleton, vessels
from medssl_bench.data.phantoms.fields import Grid
from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.trunk import Trunk


def layers(seed: int, grid: Grid, finding: findings.Finding | None = None) -> Iterator[Layer]:
    """Yield every layer of the subject ``seed`` on ``grid``; later ones cover earlier ones."""
    frame = Frame(seed, grid)
    body = Trunk(frame)
    yield from body.layers()
    if finding == "ascites":
        yield from findings.ascites(frame, body)
    yield from skeleton.layers(frame, body)
    yield from bowel.layers(frame, body)
    yield from organs.layers(frame, body)
    yield from vessels.layers(frame)
    yield from pelvis.layers(frame, body)
