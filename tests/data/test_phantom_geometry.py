"""What phantoms are made of: smooth fields, distances to shapes, partial volume."""

from __future__ import annotations

import numpy as np
import pytest

from medssl_bench.data.phantoms import anatomy
from medssl_bench.data.phantoms.acquisition import acquire
from medssl_bench.data.phantoms.fields import Grid, generator, smooth_field
from medssl_bench.data.phantoms.frame import Frame
from medssl_bench.data.phantoms.shapes import ellipsoid, tube
from medssl_bench.data.phantoms.tissues import TISSUES


def test_smooth_field_has_mean_0_variance_1_and_its_scale():
    grid = Grid((60, 60, 60), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    field = smooth_field(generator("test"), grid, 9.0)
    assert abs(field.mean()) < 0.05
    assert field.var() == pytest.approx(1, abs=0.06)
    near = (field[1:] * field[:-1]).mean()
    far = (field[12:] * field[:-12]).mean()
    assert near > 0.8 and abs(far) < 0.05


def test_distances_of_sphere_and_capsule_are_exact():
    x, y, z = np.meshgrid(*[np.linspace(-30, 30, 13, dtype=np.float32)] * 3, indexing="ij")
    away = np.sqrt((x - 3) ** 2 + (y - 1) ** 2 + (z + 2) ** 2)
    np.testing.assert_allclose(
        ellipsoid((x, y, z), (3, 1, -2), (12, 12, 12), (0.3, 0.2, 0.1)), away - 12, atol=1e-4
    )
    points = np.linspace((-10, 0, 0), (10, 5, 0), 2001)
    brute = np.min(
        [np.sqrt((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) for a, b, c in points[::20]], axis=0
    )
    capsule = tube((x, y, z), [(-10, 0, 0), (10, 5, 0)], [4, 4])
    np.testing.assert_allclose(capsule, brute - 4, atol=0.02)


def test_partial_volume_keeps_the_volume_of_a_sphere():
    grid = Grid((40, 40, 30), (3.0, 3.0, 4.0), (-60.0, -60.0, -60.0))
    frame = Frame(1, grid)
    x, y, z = np.meshgrid(*grid.axes, indexing="ij", sparse=True)
    cover = frame.cover(ellipsoid((x, y, z), (0, 0, 0), (25, 25, 25)))
    assert cover.min() == 0 and cover.max() == 1
    assert ((cover > 0.05) & (cover < 0.95)).sum() > 300
    assert cover.sum() * 36 == pytest.approx(4 / 3 * np.pi * 25**3, rel=0.01)


def test_layers_are_shares_of_known_tissues_in_float32():
    layers = list(anatomy.layers(11, acquire(11, "MR").grid))
    assert {layer.tissue for layer in layers} <= set(TISSUES)
    assert {layer.cover.dtype for layer in layers} == {np.dtype(np.float32)}
    assert all(((layer.cover >= 0) & (layer.cover <= 1)).all() for layer in layers)
