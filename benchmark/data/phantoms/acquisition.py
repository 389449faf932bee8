"""How a phantom is scanned: field of view, voxels, stored orientation, contrast, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.phantoms.fields import Grid, generator
from medssl_bench.data.phantoms.frame import Build
from medssl_bench.data.phantoms.tissues import PHASES, WEIGHTINGS
from medssl_bench.data.volume import Header

Modality = Literal["CT", "MR"]

_LAYOUTS: dict[str, tuple[str, ...]] = {
    "CT": ("LPS", "LAS", "RAS", "LPI"),
    "MR": ("LPS", "RAS", "LSA", "PSR"),
}
"""Stored orientations: the direction in which each array axis grows (axial, coronal, sagittal)."""


@dataclass(frozen=True)
class Acquisition:
    """The settings of one scan."""

    modality: Modality
    grid: Grid
    layout: str
    contrast: str
    """A CT phase or an MR weighting."""
    noise: float
    """Standard deviation: HU for CT, of the signal (0 to 1) for MR."""
    blur: float
    """Share of a voxel's value that each neighbour receives: the point spread."""
    bias: float = 0.0
    """Standard deviation of the logarithm of the MR bias field."""
    gain: float = 1.0
    """MR units of a signal of 1."""

    def header(self) -> Header:
        """Return the geometry as stored, without rendering."""
        order, signs = _axes_of(self.layout)
        x, y, z = (self.grid.shape[axis] for axis in order)
        return Header((x, y, z), self._affine(order, signs))

    def store(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn an array ``(R, A, S)`` into the stored orientation."""
        order, signs = _axes_of(self.layout)
        turned = array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
        return np.ascontiguousarray(turned)

    def _affine(self, order: list[int], signs: list[int]) -> NDArray[np.float64]:
        affine = np.zeros((4, 4))
        affine[:, 3] = [*self.grid.origin, 1]
        for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
            step = self.grid.spacing[axis]
            affine[axis, column] = sign * step
            if sign < 0:
                affine[axis, 3] += step * (self.grid.shape[axis] - 1)
        return affine


@lru_cache(maxsize=64)
def acquire(seed: int, modality: Modality) -> Acquisition:
    """Draw how the subject ``seed`` was scanned."""
    rng = generator(seed, modality, "acquisition")
    layout = str(rng.choice(_LAYOUTS[modality]))
    if modality == "CT":
        grid = _grid(rng, seed, (3.0, 3.6), (4.0, 5.0), (-216, 148), 6)
        contrast = str(rng.choice(PHASES, p=[0.25, 0.2, 0.55]))
        return Acquisition(
            "CT", grid, layout, contrast, rng.uniform(8, 24), rng.uniform(0.03, 0.12)
        )
    grid = _grid(rng, seed, (2.6, 3.3), (4.5, 6.0), (-96, 130), 3)
    contrast = str(rng.choice(WEIGHTINGS, p=[0.3, 0.2, 0.25, 0.25]))
    return Acquisition(
        "MR",
        grid,
        layout,
        contrast,
        noise=rng.uniform(0.015, 0.05),
        blur=rng.uniform(0.05, 0.15),
        bias=rng.uniform(0.1, 0.3),
        gain=float(np.exp(rng.uniform(math.log(150), math.log(1500)))),
    )


def _grid(
    rng: np.random.Generator,
    seed: int,
    plane: tuple[float, float],
    slices: tuple[float, float],
    reach: tuple[float, float],
    jitter: float,
) -> Grid:
    """Lay a grid around the body: ``reach`` is its lower and upper end in atlas mm."""
    build = Build.draw(seed)
    step, thick = rng.uniform(*plane), rng.uniform(*slices)
    bottom, top = (end * build.scale[2] + rng.uniform(-jitter, jitter) for end in reach)
    edge = build.muscle + build.fat
    width = 2 * build.scale[0] * (136 + edge) + rng.uniform(14, 34)
    depth = 2 * build.scale[1] * (94 + 1.15 * edge) + rng.uniform(26, 44)
    middle = -10 + rng.uniform(-5, 5)
    shape = math.ceil(width / step), math.ceil(depth / step), math.ceil((top - bottom) / thick)
    origin = (rng.uniform(-6, 6) - width / 2, middle - depth / 2, bottom)
    return Grid(shape, (step, step, thick), origin)


def _axes_of(layout: str) -> tuple[list[int], list[int]]:
    """Return each stored axis' RAS axis and direction: ``"LPS"`` is ([0, 1, 2], [-1, -1, 1])."""
    order = [
        next(k for k, pair in enumerate(("RL", "AP", "SI")) if word in pair) for word in layout
    ]
    return order, [1 if word in "RAS" else -1 for word in layout]
