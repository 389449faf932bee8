from __future__ import annotations

import copy

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.methods.reconstruction import Reconstruction
from medssl_bench.networks import build_encoder

CROP = (32, 32, 32)


@pytest.fixture
def build():
    def make(channels: int = 1, crop=CROP) -> Reconstruction:
        torch.manual_seed(0)
        encoder = build_encoder("swin_tiny", in_channels=channels)
        return Reconstruction(encoder, Reconstruction.Config(), crop)

    return make


@pytest.mark.parametrize("channels", [1, 2])
def test_loss_and_gradients_equal_a_float64_computation(build, make_batch, rebuild, channels):
    method = build(channels)
    reference = copy.deepcopy(method).double()
    batch = make_batch(channels=channels, grain=8)
    losses = method(batch)
    losses.total.backward()

    image = batch.views[0].double()
    gap = rebuild(reference.decoder, reference.encoder(image)[method.decoder.level.name]) - image
    expected = (gap * gap).sum() / (2 * channels * 32**3)
    expected.backward()

    assert losses.terms.keys() == {"l2"}
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        if theirs.grad is None:
            assert name.startswith("encoder.") and mine.grad is None
            continue
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)
    assert method.encoder.patch_embed.proj.weight.grad.abs().max() > 1e-6


def test_the_encoder_sees_the_crop_as_it_is_and_nothing_is_drawn(build, make_batch):
    method = build()
    seen = []
    method.encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    batch = make_batch()
    states = [generator.get_state() for generator in batch.generators]
    first = method(batch).total
    assert torch.equal(seen[0], batch.views[0])
    for generator, state in zip(batch.generators, states, strict=True):
        assert torch.equal(generator.get_state(), state)
    assert torch.equal(method(make_batch(seed=5)).total, first)


def test_a_crop_that_does_not_fit_is_refused(build):
    with pytest.raises(BenchError, match=r"reconstruction: crop \(24, 32, 32\): every side"):
        build(crop=(24, 32, 32))
