"""What holds for every method with a teacher alike."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from medssl_bench.method import Batch, Progress
from medssl_bench.methods.dino import DINO
from medssl_bench.methods.ibot import IBOT
from medssl_bench.methods.parts.distillation import SelfDistillation
from medssl_bench.methods.smit import SMIT
from medssl_bench.networks import build_encoder

CROP = (32, 32, 32)
SMALL = {"hidden": 12, "bottleneck": 6, "out": 20}


@pytest.fixture(params=[DINO, IBOT, SMIT], ids=lambda kind: kind.__name__)
def build(request, tiny_encoder):
    def make(seed: int = 0, drop: float = 0.0, **settings) -> SelfDistillation:
        encoder = tiny_encoder(seed=seed, drop=drop)
        return request.param(encoder, request.param.Config(**{**SMALL, **settings}), CROP)

    return make


def unsettle(method: SelfDistillation) -> None:
    """Make student, teacher and centres differ, with logits far from equal."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        for centre in method.centres.values():
            centre.value.add_(torch.randn(centre.value.shape, generator=generator) * 0.1)


def advance(method: SelfDistillation, optimizer, make_batch, steps: range, of: int) -> list[float]:
    losses = []
    for step in steps:
        batch = make_batch(views=2, seed=step, step=step, steps=of)
        optimizer.zero_grad()
        loss = method(batch).total
        loss.backward()
        method.before_update(batch.progress)
        optimizer.step()
        method.after_step(batch.progress)
        losses.append(loss.item())
    return losses


def test_the_teacher_starts_as_the_student(build):
    method = build()
    for name in ("encoder", "heads"):
        student, teacher = getattr(method, name).state_dict(), method.teacher[name].state_dict()
        assert student.keys() == teacher.keys()
        assert all(torch.equal(teacher[key], value) for key, value in student.items())


def test_the_teacher_gets_no_gradient(build, make_batch):
    method = build()
    unsettle(method)
    method(make_batch(views=2)).total.backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(p.grad is not None and p.grad.any() for p in method.heads.parameters())


def test_the_teacher_stays_in_eval_mode_and_drops_nothing(build, make_batch):
    method = build(drop=0.5).train()
    assert method.encoder.drop.training
    assert not any(module.training for module in method.teacher.modules())
    image = make_batch().views[0]
    first = method.teacher["encoder"](image)["deep"]
    assert torch.equal(method.teacher["encoder"](image)["deep"], first)
    assert not torch.equal(method.encoder(image)["deep"], method.encoder(image)["deep"])


def test_schedules_follow_the_global_step(build):
    method = build()
    assert method.momentum(Progress(0, 1000)) == pytest.approx(0.996)
    assert method.momentum(Progress(500, 1000)) == pytest.approx(0.998)
    assert method.momentum(Progress(999, 1000)) == pytest.approx(1.0, abs=1e-7)
    assert method.temperature(Progress(0, 1000)) == 0.04
    assert method.temperature(Progress(30, 1000)) == pytest.approx(0.055)
    assert method.temperature(Progress(60, 1000)) == 0.07
    assert method.temperature(Progress(999, 1000)) == 0.07


def test_after_k_steps_the_teacher_is_the_average_of_the_students(build):
    method = build()

    def student() -> torch.Tensor:
        parts = (method.encoder, method.heads)
        weights = [p.detach().double().flatten() for part in parts for p in part.parameters()]
        return torch.cat(weights)

    weights = [student()]
    steps = 6
    for step in range(steps):
        with torch.no_grad():
            for parameter in (*method.encoder.parameters(), *method.heads.parameters()):
                parameter.normal_()
        weights.append(student())
        method.after_step(Progress(step, steps))
    momenta = [1 - 0.004 * (math.cos(math.pi * step / steps) + 1) / 2 for step in range(steps)]
    expected = weights[0] * math.prod(momenta)
    for step in range(steps):
        share = (1 - momenta[step]) * math.prod(momenta[step + 1 :])
        expected = expected + share * weights[step + 1]
    mine = torch.cat([p.double().flatten() for p in method.teacher.parameters()])
    torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


def test_last_layers_are_frozen_for_one_epochs_share(build, make_batch):
    method = build()
    optimizer = torch.optim.AdamW(method.parameters(), lr=0.1)
    start = {name: p.detach().clone() for name, p in method.heads.named_parameters()}
    last = {name for name in start if name.endswith("last.weight")}
    moved = []
    for step in (0, 1, 2, 3):
        advance(method, optimizer, make_batch, range(step, step + 1), of=1000)
        now = dict(method.heads.named_parameters())
        moved.append({name for name, value in start.items() if not torch.equal(now[name], value)})
    assert last
    assert [names & last for names in moved] == [set(), set(), last, last]
    assert start.keys() - last <= moved[0]


@pytest.mark.parametrize("transfer", ["student", "teacher"])
def test_what_transfers_is_the_named_network_bit_for_bit(build, transfer):
    method = build(transfer=transfer)
    with torch.no_grad():
        method.encoder.tokens.weight.normal_()
    network = method.encoder if transfer == "student" else method.teacher["encoder"]
    other = method.teacher["encoder"] if transfer == "student" else method.encoder
    state = method.encoder_state()
    assert state.keys() == method.encoder.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(state[name], value)
    assert not torch.equal(state["tokens.weight"], other.tokens.weight)


def test_the_same_seed_gives_the_same_loss(build, make_batch):
    method = build()
    unsettle(method)
    first = method(make_batch(views=2, seed=7)).total
    torch.manual_seed(123)
    assert torch.equal(method(make_batch(views=2, seed=7)).total, first)


def test_a_resumed_run_repeats_the_rest_exactly(build, make_batch):
    whole = build()
    optimizer = torch.optim.AdamW(whole.parameters(), lr=1e-2)
    advance(whole, optimizer, make_batch, range(4), of=8)
    saved = copy.deepcopy((whole.state_dict(), optimizer.state_dict()))
    expected = advance(whole, optimizer, make_batch, range(4, 8), of=8)

    resumed = build(seed=99)
    again = torch.optim.AdamW(resumed.parameters(), lr=1e-2)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for name, centre in resumed.centres.items():
        assert centre.value.any()
        assert torch.equal(centre.value, saved[0][f"{name}_centre.value"])
    assert advance(resumed, again, make_batch, range(4, 8), of=8) == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_watch_reports_schedules_and_signs_of_collapse(build, make_batch):
    method = build()
    assert method.watch() == {}
    method(make_batch(views=2, step=15))
    seen = method.watch()
    assert seen["teacher_temperature"] == pytest.approx(0.055)
    assert seen["ema_momentum"] == pytest.approx(method.momentum(Progress(15, 500)))
    for name in method.centres:
        of = "" if name == "global" else f"{name}_"
        assert 0 < seen[f"teacher_{of}entropy"] <= math.log(20)
        assert seen[f"{of}centre_drift"] == 0.0

    before = {name: centre.value.clone() for name, centre in method.centres.items()}
    method.after_step(Progress(15, 500))
    for name, centre in method.centres.items():
        of = "" if name == "global" else f"{name}_"
        moved = math.dist(centre.value.tolist(), before[name].tolist())
        assert method.watch()[f"{of}centre_drift"] == pytest.approx(moved, rel=1e-5)
        assert moved > 0


def test_bf16_autocast_changes_little_and_trains(build, make_batch):
    method = build()
    unsettle(method)
    exact = method(make_batch(views=2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = method(make_batch(views=2))
    assert rough.total.dtype == torch.float32
    for name, value in exact.terms.items():
        assert rough.terms[name].item() == pytest.approx(value.item(), rel=0.05)
    rough.total.backward()
    assert method.encoder.fine.weight.grad.any()


@pytest.mark.parametrize("kind", [IBOT, SMIT], ids=lambda kind: kind.__name__)
def test_windows_of_hidden_tokens_alone_do_not_blow_up_the_first_gradient(kind):
    """With a mask token of zeros they stay zero, and LayerNorms multiply gradients to 1e9."""
    norms = {}
    for std in (0.0, 0.02):
        torch.manual_seed(0)
        config = kind.Config(hidden=64, bottleneck=16, out=64, token_std=std)
        method = kind(build_encoder("swin_65m", drop_path=0.0), config, (64, 64, 64))
        views = tuple(torch.rand(1, 1, 64, 64, 64) for _ in range(2))
        batch = Batch(views, Progress(0, 100), (torch.Generator().manual_seed(0),))
        method(batch).total.backward()
        gradients = [p.grad for p in method.encoder.parameters() if p.grad is not None]
        norms[std] = torch.nn.utils.get_total_norm(gradients).item()
    assert norms[0.02] < 1e3 < 1e6 < norms[0.0]
