from __future__ import annotations

import copy

import pytest
import torch
from lightly.loss import DINOLoss
from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.method import Progress
from medssl_bench.methods.dino import DINO
from medssl_bench.networks import build_encoder
from medssl_bench.networks.encoder import Level

CROP = (32, 32, 64)
SMALL = {"hidden": 12, "bottleneck": 6, "out": 20}


@pytest.fixture
def build(tiny_encoder):
    def make(**settings) -> DINO:
        return DINO(tiny_encoder(), DINO.Config(**{**SMALL, **settings}), CROP)

    return make


@pytest.fixture
def crops(make_batch):
    """A batch of two views whose coarsest map has two places."""

    def make(step: int = 0):
        batch = make_batch(views=2, samples=2, side=64, step=step)
        batch.views = tuple(view[:, :, :32, :32].contiguous() for view in batch.views)
        return batch

    return make


def unsettle(method: DINO) -> None:
    """Make student, teacher and centre differ, with logits far from equal."""
    method.encoder.norm.eval()  # over a batch, the gradient of a bias before it cancels to noise
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        method.global_centre.value.add_(torch.randn(20, generator=generator) * 0.1)


def projected(head, mean: Tensor) -> Tensor:
    """DINO's head on one mean feature, from its weights alone."""
    for index in (0, 2, 4):
        mean = head.mlp[index].weight @ mean + head.mlp[index].bias
        if index < 4:
            mean = mean * 0.5 * (1 + torch.erf(mean / 2**0.5))
    rows = head.last.weight
    return (rows @ mean) / (mean.norm() * rows.norm(dim=1))


def by_hand(method: DINO, views, tau_t: float) -> Tensor:
    """The loss, scan by scan and pair by pair, in the precision of ``method``."""
    images = torch.cat(views)
    student = method.encoder(images)["deep"].chunk(2)
    teacher = method.teacher["encoder"](images)["deep"].detach().chunk(2)
    total, terms = 0.0, 0
    for n in range(len(views[0])):
        for u, v in ((0, 1), (1, 0)):
            mean = (teacher[u][n, :, 0, 0, 0] + teacher[u][n, :, 0, 0, 1]) / 2
            logits = projected(method.teacher["heads"].whole, mean).detach()
            target = ((logits - method.global_centre.value) / tau_t).softmax(0)
            mean = (student[v][n, :, 0, 0, 0] + student[v][n, :, 0, 0, 1]) / 2
            logits = projected(method.heads.whole, mean)
            total = total - (target * (logits / 0.1).log_softmax(0)).sum()
            terms += 1
    return total / terms


@pytest.mark.parametrize(("step", "tau_t"), [(0, 0.04), (15, 0.055), (30, 0.07), (400, 0.07)])
def test_loss_and_gradients_equal_a_float64_computation(build, crops, step, tau_t):
    method = build()
    unsettle(method)
    batch = crops(step)
    reference = copy.deepcopy(method).double()
    losses = method(batch)
    losses.total.backward()
    expected = by_hand(reference, [view.double() for view in batch.views], tau_t)
    expected.backward()

    assert losses.terms.keys() == {"global"}
    assert losses.terms["global"] is losses.total
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        if name.startswith("teacher."):
            assert mine.grad is None and theirs.grad is None
        else:
            torch.testing.assert_close(
                mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5, msg=name
            )


def test_loss_gradient_and_centre_equal_lightlys_step_after_step(build, crops):
    method = build()
    unsettle(method)
    theirs = DINOLoss(output_dim=20, student_temp=0.1, center_momentum=0.9)
    theirs.center.copy_(method.global_centre.value)
    logits: dict[str, Tensor] = {}
    for name, heads in (("student", method.heads), ("teacher", method.teacher["heads"])):
        heads.register_forward_hook(
            lambda _module, _inputs, out, name=name: logits.update({name: out["global"]})
        )
    for step, tau_t in ((0, 0.04), (15, 0.055), (400, 0.07)):
        loss = method(crops(step)).total
        logits["student"].retain_grad()
        loss.backward()
        student = logits["student"].detach().clone().requires_grad_()
        expected = theirs(logits["teacher"].chunk(2), student.chunk(2), teacher_temp=tau_t)
        expected.backward()
        method.after_step(Progress(step, 500))
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        torch.testing.assert_close(logits["student"].grad, student.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(method.global_centre.value, theirs.center.flatten())


def test_small_crops_are_compared_as_lightly_does(build, make_batch):
    method = build(local_crops=3, local_side=32)
    unsettle(method)
    theirs = DINOLoss(output_dim=20, student_temp=0.1, center_momentum=0.9)
    theirs.center.copy_(method.global_centre.value)
    student: list[Tensor] = []
    teacher: list[Tensor] = []
    for seen, heads in ((student, method.heads), (teacher, method.teacher["heads"])):
        heads.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out["global"]))
    losses = method(make_batch(views=2, samples=2, side=64))
    assert [len(logits) for logits in student] == [4, 6]  # 2 views, then 3 cubes, of 2 scans
    views = [*student[0].chunk(2), *student[1].chunk(3)]
    expected = theirs(teacher[0].chunk(2), views, teacher_temp=0.04)
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.terms.keys() == {"global", "local"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"local_crops": -1}, "local_crops=-1 must be 0 or more"),
        ({"local_crops": 2, "local_side": 48}, "local_side=48 must be a multiple of 32"),
        ({"local_crops": 2, "local_side": 64}, r"within the crop \(32, 32, 64\)"),
    ],
)
def test_small_crops_that_do_not_fit_are_refused(build, settings, words):
    with pytest.raises(BenchError, match=words):
        build(**settings)


def test_defaults_are_the_papers():
    config = DINO.Config()
    assert (config.tau_s, config.tau_t_start, config.tau_t_end) == (0.1, 0.04, 0.07)
    assert (config.tau_t_share, config.frozen_share) == (30 / 500, 1 / 500)
    assert (config.momentum_start, config.momentum_end, config.centre_momentum) == (0.996, 1, 0.9)
    assert (config.hidden, config.bottleneck, config.out) == (2048, 256, 65536)
    assert (config.transfer, config.local_crops) == ("teacher", 0)


def test_the_head_has_the_published_shape(tiny_encoder):
    method = DINO(tiny_encoder(), DINO.Config(), CROP)
    shapes = [tuple(p.shape) for p in method.heads.parameters()]
    assert shapes[::2] == [(2048, 8), (2048, 2048), (256, 2048), (65536, 256)]


def test_the_head_reads_the_coarsest_map_of_the_papers_encoder():
    method = DINO(build_encoder("swin_65m"), DINO.Config(**SMALL), (96, 96, 96))
    assert method.level == Level("merge4", 768, 32)


def test_student_and_teacher_see_both_crops_whole(build, crops):
    method = build()
    seen: dict[str, tuple[Tensor, ...]] = {}
    for name, network in (("student", method.encoder), ("teacher", method.teacher["encoder"])):
        network.register_forward_pre_hook(
            lambda _module, inputs, name=name: seen.update({name: inputs})
        )
    batch = crops()
    method(batch)
    for inputs in seen.values():
        (images,) = inputs
        assert torch.equal(images, torch.cat(batch.views))
    assert seen.keys() == {"student", "teacher"}
