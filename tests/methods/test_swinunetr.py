from __future__ import annotations

import copy

import pytest
import torch
from lightly.loss import NTXentLoss
from torch import Tensor
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch
from medssl_bench.methods.swinunetr import SwinUNETR
from medssl_bench.networks import build_encoder

CROP = (32, 32, 32)


@pytest.fixture
def build():
    def make(crop=CROP, **settings) -> SwinUNETR:
        torch.manual_seed(0)
        config = SwinUNETR.Config(**{"out": 12, **settings})
        return SwinUNETR(build_encoder("swin_tiny"), config, crop)

    return make


@pytest.fixture
def crops(make_batch):
    def make(seed: int = 0) -> Batch:
        return make_batch(views=2, samples=3, seed=seed, grain=8)

    return make


def inputs_of(method: SwinUNETR, batch: Batch, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turns, turned and cut crops, drawn in the method's order from untouched generators."""
    turns = method.turns.draw(batch)
    turned = torch.stack(
        [im.rot90(k, (2, 3)) for im, k in zip(images, turns.tolist(), strict=True)]
    )
    return turns, turned, method.cutout(batch, turned)


def test_defaults_are_the_public_codes():
    config = SwinUNETR.Config()
    weights = (config.lambda_rotation, config.lambda_inpainting, config.lambda_contrast)
    assert weights == (1.0, 1.0, 1.0)
    assert (config.volume, config.smallest, config.largest) == (0.3, 0.05, 0.25)
    assert (config.inpainting_loss, config.second_pass) == ("l1", True)
    assert (config.out, config.tau, config.pool) == (512, 0.5, "mean")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pool": "token01"},
        {"lambda_rotation": 0.5, "lambda_inpainting": 2.0, "lambda_contrast": 3.0, "tau": 0.2},
        {"inpainting_loss": "l2", "second_pass": False, "second_view": "same"},
    ],
)
def test_loss_and_gradients_equal_a_float64_computation(build, crops, rebuild, settings):
    method = build(**settings)
    config = method.config
    reference = copy.deepcopy(method).double()
    losses = method(crops())
    losses.total.backward()

    batch = crops()
    first, second = batch.views
    second = first if config.second_view == "same" else second
    turns, turned, cut = inputs_of(method, batch, torch.cat((first, second)))
    deep = reference.encoder(cut.double())[method.level.name]
    mean = deep.flatten(2).sum(2) / deep[0, 0].numel()
    for_rotation = deep[:, :, 0, 0, 0] if config.pool == "token01" else mean
    for_contrast = deep[:, :, 0, 0, 1] if config.pool == "token01" else mean

    logits = for_rotation @ reference.rotation.weight.T + reference.rotation.bias
    rotation = functional.cross_entropy(logits, turns)
    gap = rebuild(reference.decoder, deep) - turned.double()
    inpainting = (gap.abs() if config.inpainting_loss == "l1" else gap**2).sum() / turned.numel()
    codes = for_contrast @ reference.contrast.weight.T + reference.contrast.bias
    contrast = NTXentLoss(temperature=config.tau)(*codes.chunk(2))
    expected = (
        config.lambda_rotation * rotation
        + config.lambda_inpainting * inpainting
        + config.lambda_contrast * contrast
    )
    expected.backward()

    terms = {"rotation": rotation, "inpainting": inpainting, "contrast": contrast}
    assert losses.terms.keys() == terms.keys()
    for name, term in terms.items():
        assert losses.terms[name].item() == pytest.approx(term.item(), rel=1e-5), name
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        if theirs.grad is None:
            assert name.startswith("encoder.") and mine.grad is None
            continue
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)


def test_the_encoder_sees_turned_and_cut_crops_and_the_target_is_uncut(build, crops):
    method = build(second_pass=False)
    batch = crops()
    batch.views = tuple(view + 5.0 for view in batch.views)
    turns, turned, cut = inputs_of(method, crops(), torch.cat(batch.views))
    seen: list[Tensor] = []
    method.encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    method.decoder.forward = lambda _: turned
    losses = method(batch)
    assert torch.equal(seen[0], cut)
    assert cut[cut != turned].max() <= 1 and turned.min() >= 5
    assert losses.terms["inpainting"].item() == 0.0


def test_the_two_views_are_turned_and_cut_apart(build, crops):
    method = build(second_view="same", second_pass=False)
    seen: list[Tensor] = []
    method.encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    method(crops())
    first, second = seen[0].chunk(2)
    assert all(
        not torch.equal(one.rot90(k, (2, 3)), other)
        for one, other in zip(first, second, strict=True)
        for k in range(4)
    )


@pytest.mark.parametrize("second_pass", [False, True])
def test_the_same_seed_gives_the_same_loss(build, crops, second_pass):
    method = build(second_pass=second_pass)
    first = method(crops(seed=7)).total
    torch.manual_seed(123)
    assert torch.equal(method(crops(seed=7)).total, first)
    assert not torch.equal(method(crops(seed=8)).total, first)


def test_watch_reports_accuracy_and_cosines(build, crops):
    method = build()
    assert method.watch() == {}
    method(crops())
    seen = method.watch()
    assert seen.keys() == {"rotation_accuracy", "positive_cosine", "negative_cosine"}
    assert seen["rotation_accuracy"] * 6 == pytest.approx(round(seen["rotation_accuracy"] * 6))
    assert -1 <= seen["negative_cosine"] <= 1 and -1 <= seen["positive_cosine"] <= 1


def test_an_anchor_meets_both_views_of_every_other_scan(build):
    method = build()
    assert [method.negatives(batch) for batch in (1, 2, 3, 64)] == [0, 2, 4, 126]


def test_bf16_autocast_changes_little(build, crops):
    method = build()
    exact = method(crops())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = method(crops())
    assert rough.total.dtype == torch.float32
    for name, value in exact.terms.items():
        assert rough.terms[name].item() == pytest.approx(value.item(), rel=0.05)


def test_what_does_not_fit_is_refused(build):
    with pytest.raises(BenchError, match="swinunetr: quarter turns in the sagittal plane"):
        build(crop=(32, 32, 48))
    with pytest.raises(BenchError, match=r"swinunetr: crop \(16, 16, 16\) is a single token"):
        build(crop=(16, 16, 16))
    with pytest.raises(BenchError, match="swinunetr: tau=-1.0 must be above 0"):
        build(tau=-1.0)
