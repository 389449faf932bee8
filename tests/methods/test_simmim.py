from __future__ import annotations

import copy

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch
from medssl_bench.methods.simmim import SimMIM

CROP = (32, 32, 32)


@pytest.fixture
def build(tiny_encoder):
    def make(channels: int = 1, **settings) -> SimMIM:
        return SimMIM(tiny_encoder(channels=channels), SimMIM.Config(**settings), CROP)

    return make


def mask_of(method: SimMIM, batch: Batch, seed: int = 0) -> torch.Tensor:
    """The mask that ``make_batch(seed=seed)`` draws, also when it has drawn already."""
    generators = tuple(torch.Generator().manual_seed(seed + i) for i in range(len(batch.views[0])))
    return method.masking.draw(Batch(batch.views, batch.progress, generators))


def test_defaults_are_the_papers():
    config = SimMIM.Config()
    assert (config.ratio, config.cell, config.loss) == (0.75, 16, "l2")


@pytest.mark.parametrize("kind", ["l2", "l1"])
@pytest.mark.parametrize("channels", [1, 2])
def test_loss_and_gradients_equal_a_float64_computation(build, make_batch, kind, channels):
    method = build(channels, loss=kind)
    batch = make_batch(channels=channels)
    reference = copy.deepcopy(method).double()
    losses = method(batch)
    losses.total.backward()

    image = batch.views[0].double()
    mask = mask_of(method, batch)
    deep = reference.encoder(image, mask, reference.mask_token)["deep"]
    weight, bias = reference.head.project.weight[:, :, 0, 0, 0], reference.head.project.bias
    total, count = torch.zeros((), dtype=torch.float64), 0
    for b in range(2):
        # One 32^3 token covers the crop.
        blocks = (weight @ deep[b, :, 0, 0, 0] + bias).view(channels, 32, 32, 32)
        for x, y, z in mask[b].nonzero().tolist():
            cut = (slice(None), *(slice(16 * v, 16 * v + 16) for v in (x, y, z)))
            gap = image[b][cut] - blocks[cut]
            total = total + (gap.abs().sum() if kind == "l1" else (gap * gap).sum())
            count += 16**3 * channels
    expected = total / count
    expected.backward()

    assert losses.terms.keys() == {kind}
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)


def test_visible_voxels_are_no_part_of_the_target(build, make_batch):
    method = build().eval()
    batch = make_batch()
    hidden = method.masking.enlarge(mask_of(method, batch), 1).unsqueeze(1)
    fixed = {name: value.detach() for name, value in method.encoder(batch.views[0]).items()}
    method.encoder.forward = lambda *_: fixed  # the prediction must not move with the input
    before = method(batch).total

    def loss_of(image: torch.Tensor) -> torch.Tensor:
        again = make_batch()
        again.views = (image,)
        return method(again).total

    image = batch.views[0]
    assert torch.equal(loss_of(torch.where(hidden, image, image + 5.0)), before)
    assert not torch.equal(loss_of(torch.where(hidden, image + 5.0, image)), before)


def test_hidden_voxels_are_invisible_to_the_encoder(build, make_batch):
    method = build()
    batch = make_batch()
    mask = mask_of(method, batch)
    hidden = method.masking.enlarge(mask, 1).unsqueeze(1)
    seen = method.encoder(batch.views[0], mask, method.mask_token)["deep"]
    changed = torch.where(hidden, torch.rand_like(batch.views[0]), batch.views[0])
    assert torch.equal(method.encoder(changed, mask, method.mask_token)["deep"], seen)


def test_the_same_seed_gives_the_same_loss(build, make_batch):
    method = build()
    first = method(make_batch(seed=7)).total
    torch.manual_seed(123)
    assert torch.equal(method(make_batch(seed=7)).total, first)
    assert not torch.equal(method(make_batch(seed=8)).total, first)


def test_the_mask_token_starts_from_a_truncated_normal(tiny_encoder):
    encoder = tiny_encoder()
    encoder.mask_channels = 4096
    method = SimMIM(encoder, SimMIM.Config(), CROP)
    assert abs(method.mask_token.std().item() - 0.02) < 0.002


def test_what_transfers_is_the_encoder_alone(build):
    method = build()
    state = method.encoder_state()
    assert state.keys() == method.encoder.state_dict().keys()
    assert all(
        torch.equal(state[name], value) for name, value in method.encoder.state_dict().items()
    )


def test_a_cell_that_does_not_fit_is_refused(build):
    with pytest.raises(BenchError, match="simmim: cell=12 does not divide the crop"):
        build(cell=12)
