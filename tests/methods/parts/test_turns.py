from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.turns import QuarterTurns

PLANES = {"sagittal": (1, 2), "coronal": (0, 2), "axial": (0, 1)}
"""Axes of (R, A, S) that each plane contains."""


@pytest.mark.parametrize("plane", PLANES)
def test_labels_are_the_turns_that_were_applied(make_batch, plane):
    first, second = PLANES[plane]
    quarter = QuarterTurns.fit("rotation", (6, 6, 6), plane)
    batch = make_batch(samples=12, side=6, channels=2)
    turns = quarter.draw(batch)
    assert set(turns.tolist()) == {0, 1, 2, 3}
    turned = quarter.apply(batch.views[0], turns)
    for image, result, turn in zip(batch.views[0], turned, turns.tolist(), strict=True):
        for channel in range(2):
            expected = np.rot90(image[channel].numpy(), turn, (first, second))
            assert np.array_equal(result[channel].numpy(), expected)
        assert torch.equal(result.rot90(-turn, (first + 1, second + 1)), image)


@pytest.mark.parametrize("plane", PLANES)
def test_a_quarter_turn_carries_the_first_axis_to_the_second(plane):
    first, second = PLANES[plane]
    stays = ({0, 1, 2} - {first, second}).pop()
    image = torch.zeros(1, 1, 5, 5, 5)
    place = [2, 2, 2]
    place[first], place[stays] = 4, 0
    image[(0, 0, *place)] = 1.0
    turned = QuarterTurns.fit("rotation", (5, 5, 5), plane).apply(image, torch.tensor([1]))
    place[first], place[second] = 2, 4
    assert turned[0, 0].nonzero().tolist() == [place]


def test_turns_are_uniform_and_views_are_turned_apart(make_batch):
    draws = 4000
    turns = QuarterTurns.fit("x", (8, 8, 8), "axial").draw(
        make_batch(views=2, samples=draws, side=1, seed=3)
    )
    first, second = turns.view(2, draws)
    for shares, probability in (
        (first.bincount(minlength=4), 1 / 4),
        (second.bincount(minlength=4), 1 / 4),
        ((4 * first + second).bincount(minlength=16), 1 / 16),
    ):
        deviation = math.sqrt(draws * probability * (1 - probability))
        assert (shares - draws * probability).abs().max() < 5 * deviation


def test_a_scans_turns_do_not_depend_on_the_others_of_its_batch(make_batch):
    quarter = QuarterTurns.fit("x", (8, 8, 8), "axial")
    torch.manual_seed(0)
    whole = quarter.draw(make_batch(views=2, samples=8, side=1, seed=7))
    torch.manual_seed(1)
    last = quarter.draw(make_batch(views=2, samples=3, side=1, seed=12))
    assert torch.equal(last, whole[[5, 6, 7, 13, 14, 15]])


@pytest.mark.parametrize("plane", PLANES)
def test_the_crop_must_be_square_in_the_plane_and_nowhere_else(plane):
    crop = [32, 32, 32]
    (stays,) = {0, 1, 2} - set(PLANES[plane])
    crop[stays] = 64
    QuarterTurns.fit("rotation", tuple(crop), plane)
    for axis in PLANES[plane]:
        crop = [32, 32, 32]
        crop[axis] = 64
        with pytest.raises(BenchError, match=f"rotation: quarter turns in the {plane} plane"):
            QuarterTurns.fit("rotation", tuple(crop), plane)
