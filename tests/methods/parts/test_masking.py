from __future__ import annotations

import math

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.masking import BlockMasking, masked_error, positions


@pytest.mark.parametrize(
    ("crop", "cell", "ratio", "hidden"),
    [
        ((96, 96, 96), 16, 0.75, 162),
        ((48, 48, 48), 16, 0.75, 21),
        ((96, 96, 32), 16, 0.6, 44),
        ((32, 32, 32), 16, 0.01, 1),
        ((160, 160, 64), 16, 0.07, 28),
    ],
)
def test_exactly_the_ratio_rounded_up_is_hidden(
    tiny_encoder, make_batch, crop, cell, ratio, hidden
):
    masking = BlockMasking.fit("x", tiny_encoder(), crop, cell, ratio)
    mask = masking.draw(make_batch(samples=5, side=1, seed=0))
    assert mask.shape == (5, *(side // cell for side in crop))
    assert mask.flatten(1).sum(1).tolist() == [hidden] * 5


def test_enlarged_masks_cover_whole_blocks(tiny_encoder, make_batch):
    masking = BlockMasking.fit("x", tiny_encoder(), (64, 32, 32), 16, 0.5)
    mask = masking.draw(make_batch(samples=3, side=1, seed=1))
    voxels = masking.enlarge(mask, stride=1)
    assert voxels.shape == (3, 64, 32, 32)
    for sample in range(3):
        for x in range(0, 64, 16):
            for y in range(0, 32, 16):
                for z in range(0, 32, 16):
                    block = voxels[sample, x : x + 16, y : y + 16, z : z + 16]
                    assert block.unique().tolist() == [mask[sample, x // 16, y // 16, z // 16]]
    assert torch.equal(masking.enlarge(mask, stride=16), mask)


def test_a_scans_masks_do_not_depend_on_the_others_of_its_batch(tiny_encoder, make_batch):
    masking = BlockMasking.fit("x", tiny_encoder(), (48, 48, 48), 16, 0.75)
    whole = masking.draw(make_batch(views=2, samples=4, side=1, seed=7))
    second = masking.draw(make_batch(views=2, samples=2, side=1, seed=9))
    assert torch.equal(second, whole[[2, 3, 6, 7]])
    assert not torch.equal(whole[:4], whole[4:])


def test_masks_are_uniform_and_differ_between_samples(tiny_encoder, make_batch):
    masking = BlockMasking.fit("x", tiny_encoder(), (48, 48, 48), 16, 0.75)
    draws = 4000
    mask = masking.draw(make_batch(samples=draws, side=1, seed=2))
    share = 21 / 27
    deviation = math.sqrt(share * (1 - share) / draws)
    assert (mask.float().mean(0) - share).abs().max() < 5 * deviation
    assert len(mask.flatten(1).unique(dim=0)) > draws * 0.99


def test_the_generator_is_the_only_source_of_randomness(tiny_encoder, make_batch):
    masking = BlockMasking.fit("x", tiny_encoder(), (48, 48, 48), 16, 0.75)
    torch.manual_seed(0)
    first = masking.draw(make_batch(samples=4, side=1, seed=3))
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(first, masking.draw(make_batch(samples=4, side=1, seed=3)))
    assert not torch.equal(first, masking.draw(make_batch(samples=4, side=1, seed=40)))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("crop", "cell", "ratio", "words"),
    [
        ((32, 32, 32), 15, 0.75, "cell=15 must be a multiple of 2 voxels"),
        ((32, 32, 32), 0, 0.75, "cell=0 must be a multiple of 2 voxels"),
        ((32, 32, 40), 16, 0.75, r"cell=16 does not divide the crop \(32, 32, 40\)"),
        ((32, 32, 32), 32, 0.75, "hides 1 of 1 cells"),
        ((32, 32, 32), 16, 1.0, "ratio=1.0 must be above 0 and below 1"),
        ((32, 32, 32), 16, 0.0, "ratio=0.0 must be"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_encoder, crop, cell, ratio, words):
    with pytest.raises(BenchError, match=words):
        BlockMasking.fit("x", tiny_encoder(), crop, cell, ratio)


def test_cells_must_hold_whole_tokens(tiny_encoder):
    with pytest.raises(BenchError, match="cell=8 must be a multiple of 16 voxels"):
        BlockMasking.fit("smit", tiny_encoder(), (32, 32, 32), 8, 0.75, multiple_of=16)


def test_a_backbone_that_takes_no_mask_is_refused(tiny_encoder):
    encoder = tiny_encoder()
    encoder.mask_channels = 0
    with pytest.raises(BenchError, match="simmim: this backbone takes no mask"):
        BlockMasking.fit("simmim", encoder, (32, 32, 32), 16, 0.75)


def test_positions_lists_the_hidden_tokens_of_each_sample():
    mask = torch.tensor([[0, 1, 1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 1, 1, 0, 0]]).bool()
    assert positions(mask.view(2, 2, 2, 2)).tolist() == [[1, 2, 7], [0, 4, 5]]


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_masked_error_is_the_mean_over_hidden_voxels(kind):
    generator = torch.Generator().manual_seed(5)
    prediction, image = torch.rand(2, 2, 3, 4, 4, 4, generator=generator).unbind(0)
    mask = torch.rand(2, 4, 4, 4, generator=generator) < 0.4
    total, count = 0.0, 0
    for b, x, y, z in mask.nonzero().tolist():
        for c in range(3):
            gap = abs(prediction[b, c, x, y, z].item() - image[b, c, x, y, z].item())
            total += gap if kind == "l1" else gap**2
            count += 1
    assert masked_error(kind, prediction, image, mask).item() == pytest.approx(total / count, 1e-5)


def test_masked_error_has_no_gradient_at_visible_voxels():
    prediction = torch.rand(1, 1, 4, 4, 4, requires_grad=True)
    mask = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    mask[0, :2] = True
    masked_error("l2", prediction, torch.zeros(1, 1, 4, 4, 4), mask).backward()
    assert (prediction.grad[0, 0, :2] != 0).all()
    assert (prediction.grad[0, 0, 2:] == 0).all()
