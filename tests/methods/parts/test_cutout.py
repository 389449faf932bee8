from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.cutout import Cutout

FIRST = Cutout(volume=0.3, smallest=0.05, largest=0.25, second_pass=False)
BOTH = Cutout(volume=0.3, smallest=0.05, largest=0.25, second_pass=True)
FEW = {"volume": 0.3, "smallest": 0.25, "largest": 0.5}
"""Few and large cuboids, to be quick."""


def voxels(cuboid) -> int:
    return math.prod(span.stop - span.start for span in cuboid)


def test_cuboids_stay_inside_and_have_5_to_25_percent_of_each_axis():
    size = (96, 80, 48)
    spans: list[list[slice]] = [[], [], []]
    for seed in range(60):
        for cuboid in FIRST.cuboids(size, torch.Generator().manual_seed(seed)):
            for axis in range(3):
                spans[axis].append(cuboid[axis])
    for side, found in zip(size, spans, strict=True):
        assert min(span.start for span in found) == 0
        assert max(span.stop for span in found) == side
        lengths = {span.stop - span.start for span in found}
        assert min(lengths) == side // 20  # also at the border, where cuboids are clipped
        assert max(lengths) == side // 4 - 1
        free = [s.stop - s.start for s in found if s.start + side // 4 <= side]
        allowed = side // 4 - side // 20
        shares = torch.tensor(free).bincount(minlength=side // 4)[side // 20 :] / len(free)
        assert len(shares) == allowed
        deviation = math.sqrt(1 / allowed * (1 - 1 / allowed) / len(free))
        assert (shares - 1 / allowed).abs().max() < 5 * deviation


def test_cuboids_drop_until_the_drawn_volume_is_reached_and_overlaps_count_twice():
    size, shares, overlapping = (32, 32, 32), [], 0
    for seed in range(400):
        cuboids = FIRST.cuboids(size, torch.Generator().manual_seed(seed))
        wanted = 0.3 * torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        counted = sum(map(voxels, cuboids))
        assert counted - voxels(cuboids[-1]) < wanted * 32**3 <= counted
        shares.append(wanted)
        dropped = FIRST.dropped(size, torch.Generator().manual_seed(seed))
        assert all(dropped[cuboid].all() for cuboid in cuboids)
        assert dropped.sum() <= counted
        overlapping += bool(dropped.sum() < counted)
    assert overlapping > 100
    assert stats.kstest(shares, "uniform", args=(0, 0.3)).pvalue > 0.001


def test_a_cuboid_is_filled_with_gaussian_noise_scaled_to_0_and_1():
    one = Cutout(volume=1e-9, smallest=0.25, largest=0.25, second_pass=False)
    filled = one.noise((2, 48, 48, 48), torch.Generator().manual_seed(0))
    values = filled[~filled.isnan()]
    assert len(values) == 2 * 12**3
    assert (values.min().item(), values.max().item()) == (0.0, 1.0)
    assert stats.normaltest(values.numpy()).pvalue > 0.01


@pytest.mark.parametrize("side", [1, 2, 7, 48])
def test_noise_is_within_0_and_1_at_every_size(make_batch, side):
    batch = make_batch(views=2, samples=6, side=side)
    images = torch.cat(batch.views) + 5.0
    cut = FIRST(batch, images)
    assert torch.isfinite(cut).all()
    dropped = cut != images
    assert dropped.any() and cut[dropped].min() >= 0 and cut[dropped].max() <= 1


def test_what_is_not_dropped_stays_and_the_given_images_are_not_changed(make_batch):
    batch = make_batch(samples=8, side=32, channels=2)
    before = batch.views[0].clone()
    cut = FIRST(batch, batch.views[0])
    assert torch.equal(batch.views[0], before)
    dropped = (cut != before).any(dim=1, keepdim=True)
    assert 0.02 < dropped.float().mean() < 0.32
    # All channels are dropped together.
    assert ((cut != before) == dropped).all()


@pytest.mark.parametrize("cutout", [FIRST, BOTH])
def test_the_generators_are_the_only_source_of_randomness(make_batch, cutout):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = cutout(make_batch(views=2, side=16, seed=3), torch.zeros(4, 1, 16, 16, 16))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    again = cutout(make_batch(views=2, side=16, seed=3), torch.zeros(4, 1, 16, 16, 16))
    other = cutout(make_batch(views=2, side=16, seed=30), torch.zeros(4, 1, 16, 16, 16))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_scans_cutouts_do_not_depend_on_the_others_of_its_batch(make_batch):
    images = torch.full((8, 1, 16, 16, 16), 5.0)
    whole = FIRST(make_batch(views=2, samples=4, side=16, seed=7), images)
    last = FIRST(make_batch(views=2, samples=2, side=16, seed=9), images[:4])
    assert torch.equal(last, whole[[2, 3, 6, 7]])
    assert not torch.equal(whole[:4], whole[4:])


def test_the_second_pass_fills_from_one_scans_same_view_at_the_same_place(make_batch):
    scans, side, kept = 4, 16, []
    once_only, twice = Cutout(**FEW, second_pass=False), Cutout(**FEW, second_pass=True)
    ramp = torch.linspace(2, 3, side**3).view(1, side, side, side)
    images = ramp + 10 * torch.arange(2 * scans).view(-1, 1, 1, 1, 1)
    for seed in range(0, 500, 10):
        once = once_only(make_batch(2, scans, side, seed), images)
        cut = twice(make_batch(2, scans, side, seed), images)
        for crop in range(2 * scans):
            foreign = (cut[crop] != images[crop]) & (cut[crop] > 1)
            assert torch.equal(cut[crop][~foreign], once[crop][~foreign])
            sources = {
                source
                for source in range(2 * scans)
                if foreign.any() and torch.equal(cut[crop][foreign], images[source][foreign])
            }
            kept.append(not foreign.any())
            assert len(sources) == (not kept[-1])
            assert all(source // scans == crop // scans for source in sources)
    # A crop that draws its own scan, one of four, stays.
    deviation = math.sqrt(1 / 4 * 3 / 4 / len(kept))
    assert abs(sum(kept) / len(kept) - 1 / 4) < 5 * deviation


def test_a_scan_alone_has_no_second_pass(make_batch):
    images = torch.full((2, 1, 16, 16, 16), 5.0)
    with pytest.raises(BenchError, match="another scan of the step"):
        BOTH(make_batch(views=2, samples=1, side=16), images)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((1.5, 0.05, 0.25), r"volume=1.5 must be in \[0, 1\]"),
        ((-0.1, 0.05, 0.25), r"volume=-0.1 must be in \[0, 1\]"),
        ((math.nan, 0.05, 0.25), "volume=nan"),
        ((0.3, 0.5, 0.25), "smallest=0.5 and largest=0.25 .* in this order"),
        ((0.3, -0.1, 0.25), "smallest=-0.1"),
        ((0.3, 0.05, 1.5), "largest=1.5"),
    ],
)
def test_impossible_shares_are_refused(settings, words):
    with pytest.raises(BenchError, match=words):
        Cutout(*settings, second_pass=False)
