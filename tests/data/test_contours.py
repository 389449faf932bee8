"""Contours filled on a grid, against another library's point-in-polygon and hand-made shapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from medssl_bench.data.contours import fill
from medssl_bench.data.dicom_writing import Scan, outlines, write_contours_json
from medssl_bench.data.itk import LPS_TO_RAS
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError

SHAPE = (23, 19, 6)


def lps(header: Header, index: object) -> NDArray[np.float64]:
    """Return LPS millimetres of voxel indices ``(N, 3)``, by homogeneous coordinates."""
    points = np.column_stack([np.asarray(index, dtype=np.float64), np.ones(len(index))])
    return (LPS_TO_RAS @ header.affine @ points.T).T[:, :3]


@pytest.fixture(params=["straight", "oblique", "flipped"])
def header(request: pytest.FixtureRequest, oblique: NDArray) -> Header:
    if request.param == "straight":
        return Header(SHAPE, np.diag([-0.9, -1.2, 3.0, 1.0]))
    return Header(
        SHAPE, oblique if request.param == "oblique" else oblique @ np.diag([-1, 1, -1, 1])
    )


def ring(corners: list[tuple[float, float]], place: int) -> NDArray[np.float64]:
    return np.array([(x, y, place) for x, y in corners], dtype=np.float64)


def test_a_box_has_the_voxels_whose_centres_it_holds(header: Header) -> None:
    box = ring([(2.5, 3.5), (8.5, 3.5), (8.5, 10.5), (2.5, 10.5)], 4)
    expected = np.zeros(SHAPE, bool)
    expected[3:9, 4:11, 4] = True
    np.testing.assert_array_equal(fill([lps(header, box)], header), expected)


def test_voxels_on_a_contour_are_inside(header: Header) -> None:
    box = ring([(3, 4), (8, 4), (8, 10), (3, 10)], 0)
    expected = np.zeros(SHAPE, bool)
    expected[3:9, 4:11, 0] = True
    np.testing.assert_array_equal(fill([lps(header, box)], header), expected)


def test_any_polygon_agrees_with_matplotlib(header: Header) -> None:
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE[:2]), indexing="ij"), -1).reshape(-1, 2)
    for _ in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 30)))
        radius = rng.uniform(1, 14, len(angles))  # partly beyond the slice
        corners = [11, 9] + radius[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
        mask = fill([lps(header, np.column_stack([corners, np.full(len(corners), 2)]))], header)
        inside = Polygon(corners.round(3)).contains_points(grid).reshape(SHAPE[:2])
        np.testing.assert_array_equal(mask[:, :, 2], inside)
        assert not mask[:, :, [0, 1, 3, 4, 5]].any()


def test_holes_and_islands_by_even_odd(header: Header) -> None:
    sides = [(1.5, 16.5), (4.5, 13.5), (6.5, 10.5)]
    rings = [ring([(a, a), (b, a), (b, b), (a, b)], 1) for a, b in sides]
    expected = np.zeros(SHAPE, bool)
    expected[2:17, 2:17, 1] = True
    expected[5:14, 5:14, 1] = False
    expected[7:11, 7:11, 1] = True
    for order in ([0, 1, 2], [2, 0, 1]):
        drawn = [lps(header, rings[one]) for one in order]
        np.testing.assert_array_equal(fill(drawn, header), expected)


def test_outlines_enclose_just_their_mask(header: Header) -> None:
    rng = np.random.default_rng(1)
    mask = rng.random(SHAPE) < 0.6  # holes, islands, diagonal neighbours, the border
    scan = Scan("p", "s", "CT", header)
    np.testing.assert_array_equal(fill(outlines(mask, scan), header), mask)


def test_a_landmark_lands_on_its_point(header: Header) -> None:
    """The voxel filled around a point in space is the one whose centre lies there."""
    voxel = np.array([17, 5, 3])
    axes = header.affine[:3, :2]
    centre = (header.affine @ [*voxel, 1])[:3]
    around = [centre + 0.4 * (a * axes[:, 0] + b * axes[:, 1]) for a, b in
              ((-1, -1), (1, -1), (1, 1), (-1, 1))]  # fmt: skip
    in_lps = np.array(around) * [-1, -1, 1]
    np.testing.assert_array_equal(np.argwhere(fill([in_lps], header)), [voxel])


@pytest.mark.parametrize(("place", "words"), [
    (2.5, "contour 2 of 2 lies on no slice .* up to"),
    (-1, "beyond the scan's last slice"),
    (6, "beyond the scan's last slice"),
])  # fmt: skip
def test_contours_off_the_slices_are_refused(header: Header, place: float, words: str) -> None:
    good = ring([(2, 2), (6, 2), (6, 6)], 2)
    bad = good + [0, 0, place - 2]
    with pytest.raises(DataError, match=words):
        fill([lps(header, good), lps(header, bad)], header)
    tilted = good + [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    with pytest.raises(DataError, match="lies on no slice"):
        fill([lps(header, tilted)], header)


def test_positions_with_one_decimal_are_accepted(header: Header) -> None:
    box = ring([(2.5, 3.5), (8.5, 3.5), (8.5, 10.5), (2.5, 10.5)], 4)
    assert fill([lps(header, box).round(1)], header)[3:9, 4:11, 4].all()


def test_points_and_lines_enclose_nothing(header: Header) -> None:
    assert not fill([lps(header, ring([(4, 4), (9, 9)], 1))], header).any()


def test_contours_json_is_what_the_release_has(tmp_path: Path, header: Header) -> None:
    box = lps(header, ring([(2, 2), (6, 2), (6, 6)], 2))
    file = write_contours_json({"AN": [box], "Cochlea": [box]}, tmp_path / "contours.json")
    first, second = json.loads(file.read_text())
    assert (first["structure_name"], second["structure_name"]) == ("AN", "Cochlea")
    np.testing.assert_allclose(first["LPS_contour_points"], [box], atol=1e-6)


def test_a_contour_drawn_twice_counts_once(header: Header) -> None:
    box = ring([(3, 4), (9, 4), (9, 10), (3, 10)], 2)
    once = fill([lps(header, box)], header)
    assert once.any()
    for again in (box, box[::-1], np.roll(box, 1, axis=0)):
        np.testing.assert_array_equal(fill([lps(header, box), lps(header, again)], header), once)
    other = ring([(3, 4), (9, 4), (9, 10), (3, 10)], 3)
    assert fill([lps(header, box), lps(header, other)], header).sum() == 2 * once.sum()
