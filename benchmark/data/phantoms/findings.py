"""Findings that make a phantom belong to a class; the rest of its anatomy stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.trunk import Trunk

Finding = Literal["ascites"]


def ascites(frame: Frame, body: Trunk) -> Iterator[Layer]:
    """Yield free fluid in the abdomen (as a cyst's), at the back; organs are painted over it.

    Its surface lies 10 mm behind the spine's front to 50 mm before it.
    """
    level = frame.rng("ascites").uniform(-10, 50)
    whole = frame.grid.whole
    behind = frame.at(whole)[1] - np.float32(level)
    yield frame.layer("cyst", whole, np.maximum(body.abdomen(whole, 2), behind))
