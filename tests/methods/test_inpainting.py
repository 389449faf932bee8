from __future__ import annotations

import copy

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch
from medssl_bench.methods.inpainting import Inpainting
from medssl_bench.networks import build_encoder

CROP = (32, 32, 32)


@pytest.fixture
def build():
    def make(channels: int = 1, crop=CROP, **settings) -> Inpainting:
        torch.manual_seed(0)
        encoder = build_encoder("swin_tiny", in_channels=channels)
        return Inpainting(encoder, Inpainting.Config(**settings), crop)

    return make


@pytest.fixture
def crops(make_batch):
    def make(seed: int = 0, channels: int = 1) -> Batch:
        return make_batch(side=CROP[0], seed=seed, channels=channels, grain=8)

    return make


def test_defaults_are_the_papers_or_the_public_codes():
    config = Inpainting.Config()
    assert (config.volume, config.smallest, config.largest) == (0.3, 0.05, 0.25)
    assert (config.loss, config.second_pass) == ("l2", False)


@pytest.mark.parametrize("second_pass", [False, True])
@pytest.mark.parametrize("kind", ["l2", "l1"])
@pytest.mark.parametrize("channels", [1, 2])
def test_loss_and_gradients_equal_a_float64_computation(
    build, crops, rebuild, kind, channels, second_pass
):
    method = build(channels, loss=kind, second_pass=second_pass)
    reference = copy.deepcopy(method).double()
    losses = method(crops(channels=channels))
    losses.total.backward()

    image = crops(channels=channels).views[0]
    corrupted = method.cutout(crops(channels=channels), image)
    deep = reference.encoder(corrupted.double())[method.decoder.level.name]
    gap = rebuild(reference.decoder, deep) - image.double()
    expected = (gap.abs() if kind == "l1" else gap * gap).sum() / (2 * channels * 32**3)
    expected.backward()

    assert losses.terms.keys() == {kind}
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        if theirs.grad is None:
            assert name.startswith("encoder.") and mine.grad is None
            continue
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)
    assert method.encoder.patch_embed.proj.weight.grad.abs().max() > 1e-6


def test_visible_voxels_are_part_of_the_target_as_much_as_dropped_ones(build, crops):
    method = build().eval()
    batch = crops()
    image = batch.views[0]
    visible = method.cutout(crops(), image) == image
    assert 0.5 < visible.float().mean() < 1
    fixed = {name: value.detach() for name, value in method.encoder(image).items()}
    method.encoder.forward = lambda *_: fixed  # the prediction must not move with the input
    prediction = method.decoder(fixed)

    def loss_of(wanted: torch.Tensor) -> float:
        again = crops()
        again.views = (wanted,)
        return method(again).total.item()

    # With a prediction that is right elsewhere, an error of 2 in a share s of voxels costs 4 s.
    for part in (visible, ~visible):
        wanted = torch.where(part, prediction + 2.0, prediction).detach()
        assert loss_of(wanted) == pytest.approx(4.0 * part.float().mean().item(), rel=1e-4)


def test_the_encoder_sees_noise_where_cuboids_were_dropped(build, crops):
    method = build()
    seen = []
    method.encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    batch = crops()
    batch.views = (batch.views[0] + 5.0,)
    method(batch)
    (corrupted,) = seen
    dropped = corrupted != batch.views[0]
    assert dropped.any() and not dropped.all()
    assert corrupted[dropped].min() >= 0 and corrupted[dropped].max() <= 1


@pytest.mark.parametrize("second_pass", [False, True])
def test_the_same_seed_gives_the_same_loss(build, crops, second_pass):
    method = build(second_pass=second_pass)
    first = method(crops(seed=7)).total
    torch.manual_seed(123)
    assert torch.equal(method(crops(seed=7)).total, first)
    assert not torch.equal(method(crops(seed=8)).total, first)


def test_bf16_autocast_changes_little(build, crops):
    method = build()
    exact = method(crops()).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = method(crops()).total
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.05)


def test_what_does_not_fit_is_refused(build):
    with pytest.raises(BenchError, match="cutout: volume=2.0"):
        build(volume=2.0)
    with pytest.raises(BenchError, match=r"inpainting: crop \(24, 32, 32\): every side"):
        build(crop=(24, 32, 32))
