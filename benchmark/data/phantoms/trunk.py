"""The trunk: skin, fat, body wall, cavity, lungs, heart and the great muscles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medssl_bench.data.phantoms.fields import Box, Field
from medssl_bench.data.phantoms.frame import Frame, Layer
from medssl_bench.data.phantoms.shapes import Point, ellipsoid, taper, tube, without

_LEVELS = np.array([-220, -160, -100, -40, 20, 90, 160], np.float32)
_HALF_WIDTH = np.array([104, 108, 120, 122, 127, 130, 122], np.float32)
_HALF_DEPTH = np.array([76, 76, 74, 76, 82, 88, 86], np.float32)
_WALL_MORE = np.array([34, 30, 10, 0, 0, 0, 0], np.float32)
"""Atlas mm; the wall of the pelvis is bone and gluteal muscle."""


class Trunk:
    """Signed distances (mm) on the whole grid that organs are clipped by."""

    def __init__(self, frame: Frame) -> None:
        """Compute the cavity, the outer surfaces and the diaphragm."""
        self.frame = frame
        x, y, z = frame.at(frame.grid.whole)
        level = z[0, 0]  # the outline may ignore the warp of z: one value per slice
        width, depth, more = (
            np.interp(level, _LEVELS, table).astype(np.float32)
            for table in (_HALF_WIDTH, _HALF_DEPTH, _WALL_MORE)
        )
        a, b = (x / width) ** 2, (y / depth) ** 2
        round_, square = np.sqrt(a + b), np.sqrt(np.sqrt(a * a + b * b))
        k = 0.65 * round_ + 0.35 * square
        reach = np.sqrt(x * x + y * y)
        self.cavity: Field = reach * (k - 1) / np.maximum(k, np.float32(0.05))
        """Inside of the body wall."""
        back = np.clip(-y / 80, 0, 1)
        more = more + 14 * back * np.clip(1.4 - np.abs(x) / 70, 0, 1)
        self.wall: Field = self.cavity - frame.build.muscle - more
        self.skin: Field = self.wall - frame.build.fat * (1 + 0.35 * back + 0.12 * frame.bumps)
        lift = frame.build.lift
        right = 90 + lift - 0.0062 * ((x - 58) ** 2 + (y - 14) ** 2)
        left = 80 + lift - 0.0062 * ((x + 62) ** 2 + (y - 10) ** 2)
        self.diaphragm: Field = z - np.maximum(np.maximum(right, left), 40)
        """Positive above the two domes."""

    def abdomen(self, box: Box, gap: float) -> Field:
        """Negative inside the abdominal cavity, ``gap`` mm away from its wall and the lungs."""
        return np.maximum(self.cavity[box], 0.8 * self.diaphragm[box]) + np.float32(gap)

    def layers(self) -> Iterator[Layer]:
        """Yield the layers from the skin to the lungs, heart and great muscles."""
        frame, whole = self.frame, self.frame.grid.whole
        yield frame.layer("skin", whole, self.skin)
        yield frame.layer("fat", whole, self.skin + 2.5)
        yield frame.layer("muscle", whole, self.wall + 2.0 * frame.bumps)
        yield frame.layer("visceral_fat", whole, self.cavity)
        yield from self._muscles()
        yield from self._chest()

    def _muscles(self) -> Iterator[Layer]:
        frame = self.frame
        rng = frame.rng("muscles")
        girth = rng.uniform(0.85, 1.2)
        for side in (1, -1):
            box = frame.box((min(0, side * 75), -115, -230), (max(0, side * 75), -58, 170))
            x, y, z = frame.at(box)
            column = ellipsoid((x, y, z), (side * 33.0, -88, -20), (27 * girth, 17 * girth, 290))
            column = np.maximum(column + frame.bumps[box], self.wall[box] + 2)
            yield frame.layer("muscle", box, column)
            path = [(30, -50, 10), (38, -50, -40), (48, -38, -90), (62, -5, -150), (75, 15, -200)]
            sided: list[Point] = [(side * px, py, pz) for px, py, pz in path]
            box = frame.box((min(0, side * 100), -80, -230), (max(0, side * 100), 40, 25))
            psoas = tube(frame.at(box), sided, taper([7, 15 * girth, 18 * girth, 16, 14], 5))
            yield frame.layer("muscle", box, psoas + frame.bumps[box])

    def _chest(self) -> Iterator[Layer]:
        frame = self.frame
        rng = frame.rng("chest")
        box = frame.box((-160, -115, 5), (160, 115, 230))
        x, y, z = frame.at(box)
        middle = ellipsoid((x, y, z), (-6, -8, 110), (rng.uniform(24, 32), 62, 400))
        lungs = np.maximum(self.cavity[box] + 4, -self.diaphragm[box])
        lungs = without(lungs, middle, 8)
        yield frame.layer("muscle", box, np.maximum(self.cavity[box], -self.diaphragm[box] - 3))
        yield frame.layer("visceral_fat", box, np.maximum(middle, -self.diaphragm[box]))
        yield frame.layer("lung", box, lungs)
        centre = (rng.uniform(-30, -18), 34.0, 118 + frame.build.lift)
        size = rng.uniform(0.92, 1.1)
        turn = (0.0, 0.4, 0.5)
        box = frame.around(centre, 75)
        at = frame.at(box)
        above = -self.diaphragm[box] + 2
        heart = ellipsoid(at, centre, (56 * size, 42 * size, 44 * size), turn) + frame.bumps[box]
        yield frame.layer("visceral_fat", box, np.maximum(heart - 4, above))
        yield frame.layer("muscle", box, np.maximum(heart, above))
        for shift in ((14.0, -6.0, 2.0), (-15.0, 8.0, -4.0)):
            inner = (centre[0] + shift[0], centre[1] + shift[1], centre[2] + shift[2])
            chamber = ellipsoid(at, inner, (20 * size, 24 * size, 28 * size), turn)
            yield frame.layer("blood", box, np.maximum(chamber, above + 8))
