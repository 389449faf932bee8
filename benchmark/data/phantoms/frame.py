"""A subject's atlas coordinates on a grid, and the layers of tissue that are painted on it.

Positions are in atlas mm: x to the patient's right, y to the front, z upwards, the origin before
the first lumbar vertebra. A subject is a scaled, smoothly warped atlas with organs moved and
reshaped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_bench.data.phantoms.fields import Box, Field, Grid, generator, smooth_field
from medssl_bench.data.phantoms.shapes import Point, Points


@dataclass(frozen=True)
class Layer:
    """A tissue with the share ``cover`` (0 to 1) it takes of each voxel in ``box``."""

    tissue: str
    box: Box
    cover: Field
    organ: str | None = ""
    """What the label becomes: a class, ``""`` for background, None for what it was before."""


@dataclass(frozen=True)
class Build:
    """The body of one subject: scale of the atlas and thickness of its walls (mm)."""

    scale: Point
    fat: float
    muscle: float
    lift: float
    """How far the diaphragm stands above its mean, by breathing."""

    @staticmethod
    def draw(seed: int) -> Build:
        """Draw the build of the subject with this seed."""
        rng = generator(seed, "build")
        size = rng.uniform(0.92, 1.06)
        side, depth, height = (size * rng.uniform(0.96, 1.04) for _ in range(3))
        return Build(
            (side, depth, height), rng.uniform(5, 26), rng.uniform(9, 14), rng.uniform(-12, 12)
        )


class Frame:
    """A subject's atlas coordinates on a grid, and what all organs share."""

    def __init__(self, seed: int, grid: Grid) -> None:
        """Warp the atlas of subject ``seed`` onto ``grid``."""
        self.seed = seed
        self.grid = grid
        self.build = Build.draw(seed)
        self.voxel = float(np.prod(grid.spacing) ** (1 / 3))
        """Width of the ramp at a boundary: a voxel is partly in both tissues."""
        rng = generator(seed, "warp")
        self._axes: list[Field] = []
        points: list[Field] = []
        for k, (axis, scale) in enumerate(zip(grid.axes, self.build.scale, strict=True)):
            stretch = [1, 1, 1]
            stretch[k] = -1
            place = axis / np.float32(scale)
            self._axes.append(place)
            bend = 4.0 * smooth_field(rng, grid, 110.0) + 1.2 * smooth_field(rng, grid, 45.0)
            points.append(place.reshape(stretch) + bend)
        self._points: Points = (points[0], points[1], points[2])
        self._reach = [
            float(np.abs(full - place.reshape([-1 if j == k else 1 for j in range(3)])).max())
            for k, (full, place) in enumerate(zip(self._points, self._axes, strict=True))
        ]

    def rng(self, word: str) -> np.random.Generator:
        """Return the generator of one part, independent of every other part."""
        return generator(self.seed, word)

    @cached_property
    def bumps(self) -> Field:
        """A field of variance 1 that roughens surfaces over about 20 mm."""
        return smooth_field(self.rng("bumps"), self.grid, 20.0)

    @cached_property
    def lobules(self) -> Field:
        """A field of variance 1 that roughens surfaces over about 9 mm."""
        return smooth_field(self.rng("lobules"), self.grid, 9.0)

    def box(self, low: Point, high: Point) -> Box:
        """Return the voxels that may lie between two corners (atlas mm), whatever the warp."""
        edges = []
        for axis, start, stop, reach in zip(self._axes, low, high, self._reach, strict=True):
            margin = reach + self.voxel
            first, last = np.searchsorted(axis, [start - margin, stop + margin])
            edges.append(slice(int(first), int(last)))
        return edges[0], edges[1], edges[2]

    def around(self, centre: Point, radius: float) -> Box:
        """Return the voxels within ``radius`` mm of ``centre`` along each axis."""
        x, y, z = centre
        return self.box((x - radius, y - radius, z - radius), (x + radius, y + radius, z + radius))

    def at(self, box: Box) -> Points:
        """Return the atlas coordinates of the voxels in ``box``."""
        x, y, z = self._points
        return x[box], y[box], z[box]

    def cover(self, distance: Field) -> Field:
        """Share of a voxel inside a surface at this signed distance (mm): partial volume."""
        return np.clip(0.5 - distance / np.float32(self.voxel), 0, 1)

    def layer(
        self, tissue: str, box: Box, distance: Field, organ: str | None = "", within: float = 1.0
    ) -> Layer:
        """Fill the inside of a surface with a tissue, of which ``within`` takes part."""
        return Layer(tissue, box, self.cover(distance) * np.float32(within), organ)
