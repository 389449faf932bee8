from __future__ import annotations

import copy

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch
from medssl_bench.methods.rotation import Rotation

CROP = (32, 32, 32)


@pytest.fixture
def build(tiny_encoder):
    def make(crop=CROP, **settings) -> Rotation:
        return Rotation(tiny_encoder(), Rotation.Config(**settings), crop)

    return make


def spy(method: Rotation) -> list[torch.Tensor]:
    """Collect what the encoder is given."""
    seen: list[torch.Tensor] = []
    method.encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].detach()))
    return seen


def labels(batch: Batch, turned: torch.Tensor, axes: tuple[int, int]) -> list[int]:
    """Find each crop's turn by turning the original until it matches what the encoder saw."""
    found = []
    for image, result in zip(batch.views[0], turned, strict=True):
        (turn,) = [k for k in range(4) if torch.equal(image.rot90(k, axes), result)]
        found.append(turn)
    return found


@pytest.mark.parametrize(
    ("plane", "axes"), [("sagittal", (2, 3)), ("coronal", (1, 3)), ("axial", (1, 2))]
)
def test_loss_and_gradients_equal_a_float64_computation(build, make_batch, plane, axes):
    method = build(plane=plane)
    reference = copy.deepcopy(method).double()
    batch, seen = make_batch(samples=6), spy(method)
    losses = method(batch)
    losses.total.backward()

    turns = labels(batch, seen[0], axes)
    assert len(set(turns)) > 1
    features = reference.encoder(seen[0].double())["deep"]
    expected = torch.zeros((), dtype=torch.float64)
    for feature, turn in zip(features, turns, strict=True):
        mean = feature.flatten(1).sum(1) / feature[0].numel()
        scores = torch.exp(reference.head.weight @ mean + reference.head.bias)
        expected = expected - torch.log(scores[turn] / scores.sum()) / 6
    expected.backward()

    assert losses.terms.keys() == {"cross_entropy"}
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)


def test_the_default_plane_is_that_of_the_public_code(build):
    assert build().turns.axes == (-2, -1)


def test_the_head_reads_the_mean_over_the_whole_crop(tiny_encoder, make_batch):
    method = Rotation(tiny_encoder(), Rotation.Config(), (64, 64, 64)).eval()
    feature = torch.randn(2, 8, 2, 2, 2)
    method.encoder.forward = lambda *_: {"deep": feature}
    shuffled = feature.flatten(2)[..., torch.randperm(8)].view_as(feature)
    first = method(make_batch(side=64)).total
    feature = shuffled
    torch.testing.assert_close(method(make_batch(side=64)).total, first)


def test_watch_reports_the_share_of_turns_told_right(build, make_batch):
    method = build()
    assert method.watch() == {}
    batch, seen = make_batch(samples=8), spy(method)
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))
    method(batch)
    turns = labels(batch, seen[0], (2, 3))
    assert method.watch() == {"accuracy": turns.count(2) / 8}
    assert turns.count(2) > 0


def test_the_same_seed_gives_the_same_loss(build, make_batch):
    method = build()
    first = method(make_batch(seed=7)).total
    torch.manual_seed(123)
    assert torch.equal(method(make_batch(seed=7)).total, first)
    others = [method(make_batch(seed=seed)).total for seed in (20, 30, 40)]
    assert not all(torch.equal(other, first) for other in others)


def test_a_crop_that_is_not_square_in_the_plane_is_refused(build):
    build(crop=(64, 32, 32))
    with pytest.raises(BenchError, match="rotation: quarter turns in the axial plane .* 64 x 32"):
        build(crop=(64, 32, 32), plane="axial")
