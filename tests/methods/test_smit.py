from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.methods.smit import SMIT
from medssl_bench.networks.encoder import Level

CROP = (32, 32, 32)
SMALL = {"hidden": 12, "bottleneck": 6, "out": 20}


@pytest.fixture
def build(tiny_encoder):
    def make(seed: int = 0, drop: float = 0.0, **settings) -> SMIT:
        encoder = tiny_encoder(seed=seed, drop=drop)
        return SMIT(encoder, SMIT.Config(**{**SMALL, **settings}), CROP)

    return make


def unsettle(method: SMIT) -> None:
    """Make student, teacher and centres differ, with logits far from equal."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        for centre in (method.patch_centre, method.global_centre):
            centre.value.add_(torch.randn(centre.value.shape, generator=generator) * 0.1)


def projected(head, token: Tensor) -> Tensor:
    """DINO's head on one token, from its weights alone."""
    for index in (0, 2, 4):
        token = head.mlp[index].weight @ token + head.mlp[index].bias
        if index < 4:
            token = token * 0.5 * (1 + torch.erf(token / math.sqrt(2)))
    rows = head.last.weight
    return (rows @ token) / (token.norm() * rows.norm(dim=1))


def normed(norm, token: Tensor) -> Tensor:
    gap = token - token.mean()
    return gap / torch.sqrt((gap * gap).mean() + 1e-6) * norm.weight + norm.bias


def by_hand(method: SMIT, views, mask: Tensor, tau_t: float) -> dict[str, Tensor]:
    """Every term of the objective, token by token, in the precision of ``method``."""
    samples = len(views[0])
    images = torch.cat(views)
    student = method.encoder(images, mask, method.mask_token)
    with torch.no_grad():
        teacher = method.teacher["encoder"](images)["tokens"]
    theirs = method.teacher["heads"]
    mip, mpd, voxels, student_global, teacher_global = 0.0, 0.0, 0, [], []
    for n in range(2 * samples):
        weight = method.voxels.project.weight[:, :, 0, 0, 0]
        crop = weight @ student["deep"][n, :, 0, 0, 0] + method.voxels.project.bias
        crop = crop.view(32, 32, 32)
        of_student, of_teacher, terms = [], [], []
        for x in range(2):
            for y in range(2):
                for z in range(2):
                    s = normed(method.heads.norm, student["tokens"][n, :, x, y, z])
                    t = normed(theirs.norm, teacher[n, :, x, y, z])
                    of_student.append(s)
                    of_teacher.append(t)
                    if not mask[n, x, y, z]:
                        continue
                    cut = tuple(slice(16 * v, 16 * v + 16) for v in (x, y, z))
                    mip = mip + (crop[cut] - images[n, 0][cut]).abs().sum()
                    voxels += 16**3
                    target = (projected(theirs.patch, t) - method.patch_centre.value) / tau_t
                    logits = projected(method.heads.patch, s) / 0.1
                    terms.append(-(target.softmax(0).detach() * logits.log_softmax(0)).sum())
        mpd = mpd + sum(terms) / len(terms)
        student_global.append(projected(method.heads.whole, sum(of_student) / 8))
        teacher_global.append(projected(theirs.whole, sum(of_teacher) / 8).detach())
    itd = 0.0
    for n in range(samples):
        for mine, other in ((n, n + samples), (n + samples, n)):
            target = ((teacher_global[other] - method.global_centre.value) / tau_t).softmax(0)
            itd = itd - (target * (student_global[mine] / 0.1).log_softmax(0)).sum()
    return {"mip": mip / voxels, "mpd": mpd / (2 * samples), "itd": itd / (2 * samples)}


@pytest.mark.parametrize(("step", "tau_t"), [(0, 0.04), (15, 0.055), (30, 0.07), (400, 0.07)])
def test_terms_and_gradients_equal_a_float64_computation(build, make_batch, step, tau_t):
    method = build()
    unsettle(method)
    batch = make_batch(views=2, step=step)
    reference = copy.deepcopy(method).double()
    losses = method(batch)
    losses.total.backward()

    mask = method.masking.draw(make_batch(views=2))
    expected = by_hand(reference, [view.double() for view in batch.views], mask, tau_t)
    total = expected["mip"] + 0.1 * expected["mpd"] + 0.1 * expected["itd"]
    total.backward()

    assert losses.terms.keys() == expected.keys()
    for name, value in expected.items():
        assert losses.terms[name].item() == pytest.approx(value.item(), rel=1e-5), name
    assert losses.total.item() == pytest.approx(total.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        if name.startswith("teacher."):
            assert mine.grad is None and theirs.grad is None
        else:
            torch.testing.assert_close(
                mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5, msg=name
            )


def test_defaults_are_the_papers():
    config = SMIT.Config()
    assert (config.ratio, config.cell, config.mip_loss) == (0.75, 16, "l1")
    assert (config.lambda_mpd, config.lambda_itd) == (0.1, 0.1)
    assert (config.tau_s, config.tau_t_start, config.tau_t_end) == (0.1, 0.04, 0.07)
    assert (config.tau_t_share, config.frozen_share) == (30 / 500, 1 / 500)
    assert (config.momentum_start, config.momentum_end, config.centre_momentum) == (0.996, 1, 0.9)
    assert (config.hidden, config.bottleneck, config.out) == (2048, 256, 8192)
    assert config.transfer == "student"


def test_heads_have_the_published_shape(tiny_encoder):
    method = SMIT(tiny_encoder(), SMIT.Config(), CROP)
    for head in (method.heads.patch, method.heads.whole):
        shapes = [tuple(p.shape) for p in head.parameters()]
        assert shapes[::2] == [(2048, 6), (2048, 2048), (256, 2048), (8192, 256)]
    assert method.heads.norm.eps == 1e-6
    assert 0 < method.mask_token.abs().max() < 0.1


def test_the_patch_term_sees_masked_tokens_only(build, make_batch):
    method = build(ratio=0.5)
    unsettle(method)
    batch = make_batch(views=2)
    mask = method.masking.draw(make_batch(views=2)).unsqueeze(1)
    before = method(batch).terms
    where = {"mask": mask}

    def disturb(_module, _inputs, features):
        noise = torch.randn(features["tokens"].shape, generator=torch.Generator().manual_seed(5))
        return features | {"tokens": features["tokens"] + noise * where["mask"]}

    method.encoder.register_forward_hook(disturb)
    where["mask"] = ~mask
    batch = make_batch(views=2)
    visible = method(batch).terms
    assert torch.equal(visible["mpd"], before["mpd"])
    assert not torch.equal(visible["itd"], before["itd"])
    where["mask"] = mask
    batch = make_batch(views=2)
    assert not torch.equal(method(batch).terms["mpd"], before["mpd"])


def test_the_student_is_masked_and_the_teacher_is_not(build, make_batch):
    method = build()
    calls: dict[str, list[int]] = {"student": [], "teacher": []}
    for name, network in (("student", method.encoder), ("teacher", method.teacher["encoder"])):
        network.register_forward_pre_hook(
            lambda _module, inputs, name=name: calls[name].append(len(inputs))
        )
    method(make_batch(views=2))
    assert calls == {"student": [3], "teacher": [1]}


def test_the_same_seed_gives_the_same_loss(build, make_batch):
    method = build()
    unsettle(method)
    first = method(make_batch(views=2, seed=7)).total
    torch.manual_seed(123)
    assert torch.equal(method(make_batch(views=2, seed=7)).total, first)
    assert not torch.equal(method(make_batch(views=2, seed=8)).total, first)


def test_a_backbone_without_the_token_stride_is_refused(tiny_encoder):
    encoder = tiny_encoder()
    encoder.levels = (Level("fine", 4, 2), Level("deep", 8, 32))
    with pytest.raises(BenchError, match="smit: no feature level of stride 16"):
        SMIT(encoder, SMIT.Config(**SMALL), CROP)


def test_a_cell_smaller_than_a_token_is_refused(build):
    with pytest.raises(BenchError, match="smit: cell=8 must be a multiple of 16"):
        build(cell=8)
