from __future__ import annotations

import copy

import pytest
import torch
from lightly.loss import NTXentLoss

from medssl_bench.config import load_settings
from medssl_bench.errors import BenchError
from medssl_bench.methods.contrastive import Contrastive
from medssl_bench.plan import Request, build_plan
from medssl_bench.store import Store
from medssl_bench.training import Compute

CROP = (32, 32, 32)


@pytest.fixture
def build(tiny_encoder):
    def make(**settings) -> Contrastive:
        return Contrastive(tiny_encoder(), Contrastive.Config(**{"out": 12, **settings}), CROP)

    return make


def test_defaults_are_the_public_codes():
    config = Contrastive.Config()
    assert (config.out, config.tau) == (512, 0.5)


@pytest.mark.parametrize("tau", [0.5, 0.2])
def test_loss_and_gradients_equal_a_float64_computation(build, make_batch, tau):
    method = build(tau=tau)
    reference = copy.deepcopy(method).double()
    batch = make_batch(views=2, samples=3)
    losses = method(batch)
    losses.total.backward()

    features = reference.encoder(torch.cat(batch.views).double())["deep"]
    means = features.flatten(2).sum(2) / features[0, 0].numel()
    views = [reference.head.weight @ mean + reference.head.bias for mean in means]
    views = [view / (view * view).sum().sqrt() for view in views]
    expected = torch.zeros((), dtype=torch.float64)
    for i, anchor in enumerate(views):
        weights = {k: torch.exp(anchor @ views[k] / tau) for k in range(6) if k != i}
        expected = expected - torch.log(weights[(i + 3) % 6] / sum(weights.values())) / 6
    expected.backward()

    assert losses.terms.keys() == {"nt_xent"}
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)


def test_loss_equals_lightlys_on_the_same_codes(build, make_batch):
    method = build()
    batch = make_batch(views=2, samples=4)
    codes: list[torch.Tensor] = []
    method.head.register_forward_hook(lambda _, inputs, output: codes.append(output))
    loss = method(batch).total
    assert codes[0].shape == (8, 12)
    expected = NTXentLoss(temperature=0.5)(*codes[0].chunk(2))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_views_of_a_scan_are_partners_whatever_the_order_of_scans(build, make_batch):
    method = build()
    batch = make_batch(views=2, samples=4)
    before = method(batch).total
    order = torch.tensor([2, 0, 3, 1])
    batch.views = tuple(view[order] for view in batch.views)
    torch.testing.assert_close(method(batch).total, before)
    batch.views = (batch.views[0], batch.views[1].roll(1, dims=0))
    assert abs(method(batch).total.item() - before.item()) > 1e-5


def test_nothing_is_drawn(build, make_batch):
    method = build()
    first = method(make_batch(views=2, seed=1)).total
    assert torch.equal(method(make_batch(views=2, seed=2)).total, first)


def test_an_anchor_meets_both_views_of_every_other_scan(build):
    method = build()
    assert [method.negatives(batch) for batch in (1, 2, 3, 64)] == [0, 2, 4, 126]


def test_watch_reports_mean_cosines_of_partners_and_strangers(build, make_batch):
    method = build()
    assert method.watch() == {}
    batch = make_batch(views=2, samples=3)
    batch.views = (batch.views[0], batch.views[0])
    method(batch)
    seen = method.watch()
    assert seen["positive_cosine"] == pytest.approx(1.0, abs=1e-5)
    assert seen["negative_cosine"] < seen["positive_cosine"] - 1e-5
    batch.views = (torch.ones_like(batch.views[0]),) * 2
    method(batch)
    assert method.watch()["negative_cosine"] == pytest.approx(1.0, abs=1e-5)


def test_a_temperature_of_zero_is_refused(build):
    with pytest.raises(BenchError, match="contrastive: tau=0.0 must be above 0"):
        build(tau=0.0)


@pytest.mark.parametrize("name", ["contrastive", "swinunetr"])
def test_a_plan_with_a_batch_of_one_scan_is_refused(name, tmp_path):
    settings = load_settings("demo", {}, ["pretrain.batch=1"])
    request = Request((name,), ("phantom_ct",), ("5",), settings)
    store = Store(tmp_path, read_only=True, missing_ok=True)
    words = f"{name} needs a batch of at least 2; pretrain.batch is 1"
    with pytest.raises(BenchError, match=words):
        build_plan(request, Compute("cpu", "32-true", 1), store)
