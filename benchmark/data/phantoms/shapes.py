"""Shapes as signed distances in mm: negative inside, approximate away from the surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.phantoms.fields import Field

Point = tuple[float, float, float]
Points = tuple[Field, Field, Field]
"""Coordinates ``(x, y, z)`` in mm, arrays that broadcast against each other."""


def ellipsoid(at: Points, centre: Point, radii: Point, turn: Point = (0.0, 0.0, 0.0)) -> Field:
    """Signed distance to an ellipsoid turned by ``turn`` (radians about x, y, z)."""
    x, y, z = _turned(at, centre, turn)
    k0 = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
    k1 = np.sqrt((x / radii[0] ** 2) ** 2 + (y / radii[1] ** 2) ** 2 + (z / radii[2] ** 2) ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6))


def tube(at: Points, path: Sequence[Point], radii: Sequence[float]) -> Field:
    """Signed distance to a chain of round cones through ``path`` with a radius at each point."""
    best: Field | None = None
    for k in range(len(path) - 1):
        a, b = np.asarray(path[k], np.float32), np.asarray(path[k + 1], np.float32)
        along = b - a
        x, y, z = at[0] - a[0], at[1] - a[1], at[2] - a[2]
        t = (x * along[0] + y * along[1] + z * along[2]) / np.float32(max((along**2).sum(), 1e-6))
        t = np.clip(t, 0, 1)
        off = (x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (z - t * along[2]) ** 2
        near = np.sqrt(off) - (radii[k] + t * np.float32(radii[k + 1] - radii[k]))
        best = near if best is None else np.minimum(best, near)
    if best is None:
        raise ValueError("a tube needs two points")
    return best


def curve(points: Sequence[Point], parts: int = 4) -> list[Point]:
    """Round a chain of points: Catmull-Rom spline with ``parts`` pieces between two points."""
    p: NDArray[np.float64] = np.asarray([points[0], *points, points[-1]], float)
    steps = np.arange(parts)[:, None] / parts
    pieces = [
        0.5
        * (
            2 * p[k]
            + (p[k + 1] - p[k - 1]) * steps
            + (2 * p[k - 1] - 5 * p[k] + 4 * p[k + 1] - p[k + 2]) * steps**2
            + (3 * p[k] - p[k - 1] - 3 * p[k + 1] + p[k + 2]) * steps**3
        )
        for k in range(1, len(p) - 2)
    ]
    smooth = np.concatenate([*pieces, p[-1:]])
    return [(float(x), float(y), float(z)) for x, y, z in smooth]


def taper(radii: Sequence[float], count: int) -> list[float]:
    """Spread radii evenly over ``count`` points."""
    places = np.linspace(0, len(radii) - 1, count)
    return [float(value) for value in np.interp(places, np.arange(len(radii)), radii)]


def union(a: Field, b: Field, blend: float) -> Field:
    """Join two shapes with a fillet of ``blend`` mm (quadratic smooth minimum)."""
    h = np.maximum(blend - np.abs(a - b), 0) / np.float32(blend)
    return np.minimum(a, b) - h * h * np.float32(blend / 4)


def without(a: Field, b: Field, blend: float) -> Field:
    """Cut ``b`` out of ``a`` with a rounded edge of ``blend`` mm."""
    return -union(-a, b, blend)


def bounds(path: Sequence[Point], margin: float) -> tuple[Point, Point]:
    """Return the corners of the box around a path, ``margin`` mm wider on each side."""
    points = np.asarray(path, float)
    low, high = points.min(0) - margin, points.max(0) + margin
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def moved(rng: np.random.Generator, point: Point, spread: float) -> Point:
    """Move a point by a normal step of ``spread`` mm along each axis."""
    dx, dy, dz = (float(step) for step in rng.normal(0, spread, 3))
    return point[0] + dx, point[1] + dy, point[2] + dz


def scaled(radii: Point, size: float) -> Point:
    """Multiply three radii (mm) by ``size``."""
    return radii[0] * size, radii[1] * size, radii[2] * size


def _turned(at: Points, centre: Point, turn: Point) -> Points:
    x, y, z = (
        at[0] - np.float32(centre[0]),
        at[1] - np.float32(centre[1]),
        at[2] - np.float32(centre[2]),
    )
    for angle, axis in zip(turn, "xyz", strict=True):
        if angle == 0:
            continue
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        if axis == "x":
            y, z = c * y + s * z, c * z - s * y
        elif axis == "y":
            z, x = c * z + s * x, c * x - s * z
        else:
            x, y = c * x + s * y, c * y - s * x
    return x, y, z
