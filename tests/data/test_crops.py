from dataclasses import dataclass, field

import numpy as np
import pytest

from medssl_bench.data.crops import centred_start, nearby_start, random_start, sample_start


@dataclass
class Case:
    shape: tuple[int, int, int] = (40, 50, 60)
    foreground: dict[int, np.ndarray] = field(default_factory=dict)


def rng(seed=0):
    return np.random.default_rng(seed)


def holds(start, size, voxel):
    return all(s <= v < s + n for s, n, v in zip(start, size, voxel, strict=True))


def test_random_crops_reach_every_position_inside():
    generator = rng()
    starts = {random_start((5, 6, 3), (3, 4, 3), generator) for _ in range(500)}
    assert starts == {(x, y, 0) for x in range(3) for y in range(3)}


@pytest.mark.parametrize(("side", "crop", "before"), [(10, 16, 3), (10, 15, 2), (16, 16, 0)])
def test_short_axes_are_padded_on_both_sides(side, crop, before):
    expected = (-before,) * 3
    assert random_start((side,) * 3, (crop,) * 3, rng()) == expected
    assert centred_start((side,) * 3, (crop,) * 3, (0, side - 1, 3), rng()) == expected


def test_nearby_crops_reach_every_position_that_near_and_inside():
    generator = rng()
    shape, size = (20, 12, 3), (8, 8, 4)
    starts = {nearby_start(shape, size, generator, (6, 1, -1), 0.25) for _ in range(2000)}
    # Two voxels either way along each axis; the volume ends, and is shorter than the crop.
    assert starts == {(x, y, 0) for x in range(4, 9) for y in range(4)}
    assert nearby_start(shape, size, generator, (6, 1, 0), 0.0) == (6, 1, 0)


def test_centred_crops_hold_their_voxel_and_stay_inside():
    generator = rng()
    shape, size = (40, 50, 60), (16, 17, 96)
    for _ in range(300):
        voxel = tuple(int(generator.integers(n)) for n in shape)
        start = centred_start(shape, size, voxel, generator, jitter=0.49)
        assert holds(start, size, voxel)
        assert 0 <= start[0] <= 24 and 0 <= start[1] <= 33 and start[2] == -18


def test_without_generator_the_voxel_is_in_the_middle():
    assert centred_start((40, 50, 60), (16, 16, 16), (20, 20, 20)) == (12, 12, 12)


def test_positive_share_is_met_and_classes_are_drawn_evenly():
    common = rng(1).integers(0, 40, (2000, 3))
    case = Case((400, 400, 400), {1: common, 2: np.array([[390, 390, 390]])})
    size = (16, 16, 16)
    generator = rng()
    starts = [sample_start(case, size, generator, 0.5) for _ in range(2000)]
    rare = np.mean([holds(start, size, (390, 390, 390)) for start in starts])
    near = np.mean([max(start) < 40 for start in starts])
    assert abs(rare - 0.25) < 0.04 and abs(near - 0.25) < 0.04


def test_clear_crops_hold_no_foreground_where_that_is_possible():
    tumour = np.stack(np.meshgrid(*[np.arange(10, 20)] * 3), -1).reshape(-1, 3)
    case = Case(foreground={1: tumour})
    size = (16, 16, 16)
    generator = rng()
    for _ in range(100):
        start = sample_start(case, size, generator, 0.0, clear=True)
        assert not any(holds(start, size, voxel) for voxel in tumour)
    everywhere = Case((16, 16, 16), {1: tumour[:5]})
    assert sample_start(everywhere, size, generator, 0.0, clear=True) == (0, 0, 0)


def test_a_case_without_foreground_gives_random_crops():
    assert sample_start(Case(), (40, 50, 60), rng(), 1.0) == (0, 0, 0)


def test_equal_generators_give_equal_crops():
    case = Case(foreground={1: np.array([[3, 4, 5]])})
    first = [sample_start(case, (8, 8, 8), rng(7)) for _ in range(5)]
    assert first == [sample_start(case, (8, 8, 8), rng(7)) for _ in range(5)]
