from __future__ import annotations

import copy

import pytest
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss
from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.methods.ibot import IBOT
from medssl_bench.networks import build_encoder
from medssl_bench.networks.encoder import Level

CROP = (32, 32, 32)
SMALL = {"hidden": 12, "bottleneck": 6, "out": 20}


@pytest.fixture
def build(tiny_encoder):
    def make(**settings) -> IBOT:
        return IBOT(tiny_encoder(), IBOT.Config(**{**SMALL, **settings}), CROP)

    return make


def unsettle(method: IBOT) -> None:
    """Make student, teacher and centres differ, with logits far from equal."""
    method.encoder.norm.eval()  # over a batch, the gradient of a bias before it cancels to noise
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        for centre in (method.patch_centre, method.global_centre):
            centre.value.add_(torch.randn(20, generator=generator) * 0.1)


def projected(head, token: Tensor) -> Tensor:
    """DINO's head on one token, from its weights alone."""
    for index in (0, 2, 4):
        token = head.mlp[index].weight @ token + head.mlp[index].bias
        if index < 4:
            token = token * 0.5 * (1 + torch.erf(token / 2**0.5))
    rows = head.last.weight
    return (rows @ token) / (token.norm() * rows.norm(dim=1))


def normed(norm, token: Tensor) -> Tensor:
    gap = token - token.mean()
    return gap / torch.sqrt((gap * gap).mean() + 1e-6) * norm.weight + norm.bias


def distance(student: Tensor, teacher: Tensor, centre: Tensor, tau_t: float) -> Tensor:
    target = ((teacher.detach() - centre) / tau_t).softmax(0)
    return -(target * (student / 0.1).log_softmax(0)).sum()


def by_hand(method: IBOT, views, mask: Tensor, tau_t: float) -> dict[str, Tensor]:
    """Both terms, token by token, in the precision of ``method``."""
    images, scans = torch.cat(views), len(views[0])
    maps = method.encoder(images, mask, method.mask_token), method.teacher["encoder"](images)
    student, teacher = (features["tokens"].flatten(2) for features in maps)
    mine, theirs = method.heads, method.teacher["heads"]
    patch = 0.0
    means: list[tuple[Tensor, Tensor]] = []
    for n in range(2 * scans):
        s = [normed(mine.norm, student[n, :, i]) for i in range(8)]
        t = [normed(theirs.norm, teacher[n, :, i]) for i in range(8)]
        means.append((projected(mine.whole, sum(s) / 8), projected(theirs.whole, sum(t) / 8)))
        terms = [
            distance(
                projected(mine.patch, s[i]),
                projected(theirs.patch, t[i]),
                method.patch_centre.value,
                tau_t,
            )
            for i, hidden in enumerate(mask[n].flatten().tolist())
            if hidden
        ]
        patch = patch + sum(terms) / len(terms)
    whole = 0.0
    for n in range(scans):
        for u, v in ((n, n + scans), (n + scans, n)):
            whole = whole + distance(means[v][0], means[u][1], method.global_centre.value, tau_t)
    return {"global": whole / (2 * scans), "patch": patch / (2 * scans)}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("step", "tau_t"), [(0, 0.04), (15, 0.055), (30, 0.07), (400, 0.07)])
def test_terms_and_gradients_equal_a_float64_computation(build, make_batch, step, tau_t, shared):
    method = build(shared_head=shared, lambda_g=0.5, lambda_p=2.0)
    unsettle(method)
    batch = make_batch(views=2, step=step)
    reference = copy.deepcopy(method).double()
    losses = method(batch)
    losses.total.backward()

    mask = method.masking.draw(make_batch(views=2))
    expected = by_hand(reference, [view.double() for view in batch.views], mask, tau_t)
    total = 0.5 * expected["global"] + 2.0 * expected["patch"]
    total.backward()

    assert losses.terms.keys() == expected.keys()
    for name, value in expected.items():
        assert losses.terms[name].item() == pytest.approx(value.item(), rel=1e-5), name
    assert losses.total.item() == pytest.approx(total.item(), rel=1e-5)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        if name.startswith(("teacher.", "encoder.deep.")):
            assert mine.grad is None and theirs.grad is None
        else:
            torch.testing.assert_close(
                mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5, msg=name
            )


@pytest.mark.parametrize(("step", "tau_t"), [(0, 0.04), (15, 0.055), (400, 0.07)])
def test_losses_and_gradients_equal_lightlys(build, make_batch, step, tau_t):
    method = build()
    unsettle(method)
    made: dict[str, dict[str, Tensor]] = {}
    for name, heads in (("student", method.heads), ("teacher", method.teacher["heads"])):
        heads.register_forward_hook(
            lambda _module, _inputs, out, name=name: made.update({name: out})
        )
    losses = method(make_batch(views=2, step=step))
    for logits in made["student"].values():
        logits.retain_grad()
    losses.total.backward()
    student = {k: v.detach().clone().requires_grad_() for k, v in made["student"].items()}

    mask = method.masking.draw(make_batch(views=2)).flatten(2)
    patch_loss = IBOTPatchLoss(output_dim=20, student_temp=0.1)
    patch_loss.center.center.copy_(method.patch_centre.value)
    patch = patch_loss(
        made["teacher"]["patch"][mask.flatten(1)],
        student["patch"].flatten(0, 1),
        mask,
        teacher_temp=tau_t,
    )
    global_loss = DINOLoss(output_dim=20, student_temp=0.1)
    global_loss.center.copy_(method.global_centre.value)
    whole = global_loss(
        made["teacher"]["global"].chunk(2), student["global"].chunk(2), teacher_temp=tau_t
    )
    (whole + patch).backward()

    assert losses.terms["patch"].item() == pytest.approx(patch.item(), rel=1e-5)
    assert losses.terms["global"].item() == pytest.approx(whole.item(), rel=1e-5)
    for name, logits in made["student"].items():
        torch.testing.assert_close(logits.grad, student[name].grad, rtol=1e-5, atol=1e-6)


def test_defaults_are_the_papers():
    config = IBOT.Config()
    assert (config.ratio, config.cell) == (0.75, 16)
    assert (config.lambda_g, config.lambda_p) == (1, 1)
    assert (config.tau_s, config.tau_t_start, config.tau_t_end) == (0.1, 0.04, 0.07)
    assert (config.tau_t_share, config.frozen_share) == (30 / 500, 1 / 500)
    assert (config.momentum_start, config.momentum_end, config.centre_momentum) == (0.996, 1, 0.9)
    assert (config.hidden, config.bottleneck, config.out) == (2048, 256, 8192)
    assert config.shared_head
    assert config.transfer == "teacher"


def test_the_shared_head_has_the_published_shape(tiny_encoder):
    method = IBOT(tiny_encoder(), IBOT.Config(), CROP)
    shapes = [tuple(p.shape) for p in method.heads.parameters()]
    norm, head = shapes[:2], shapes[2:]
    assert norm == [(6,), (6,)]
    assert head[::2] == [(2048, 6), (2048, 2048), (256, 2048), (8192, 256)]
    separate = IBOT(tiny_encoder(), IBOT.Config(shared_head=False), CROP)
    assert [tuple(p.shape) for p in separate.heads.parameters()] == norm + head + head


def test_the_patch_term_sees_masked_tokens_only(build, make_batch):
    method = build(ratio=0.5)
    unsettle(method)
    mask = method.masking.draw(make_batch(views=2)).unsqueeze(1)
    before = method(make_batch(views=2)).terms
    where = {"mask": mask}

    def disturb(_module, _inputs, features):
        noise = torch.randn(features["tokens"].shape, generator=torch.Generator().manual_seed(5))
        return features | {"tokens": features["tokens"] + noise * where["mask"]}

    for network in (method.encoder, method.teacher["encoder"]):
        network.register_forward_hook(disturb)
    where["mask"] = ~mask
    visible = method(make_batch(views=2)).terms
    assert torch.equal(visible["patch"], before["patch"])
    assert not torch.equal(visible["global"], before["global"])
    where["mask"] = mask
    assert not torch.equal(method(make_batch(views=2)).terms["patch"], before["patch"])


def test_masks_are_drawn_from_the_first_step_and_for_the_student_alone(build, make_batch):
    method = build()
    seen: dict[str, tuple] = {}
    for name, network in (("student", method.encoder), ("teacher", method.teacher["encoder"])):
        network.register_forward_pre_hook(
            lambda _module, inputs, name=name: seen.update({name: inputs})
        )
    batch = make_batch(views=2, step=0)
    method(batch)
    images, mask, token = seen["student"]
    assert torch.equal(images, torch.cat(batch.views))
    assert mask.flatten(1).sum(1).tolist() == [6] * 4
    assert token is method.mask_token
    (images,) = seen["teacher"]
    assert torch.equal(images, torch.cat(batch.views))


def test_patch_tokens_are_the_last_stages_of_the_papers_encoder():
    method = IBOT(build_encoder("swin_65m"), IBOT.Config(**SMALL), (96, 96, 96))
    assert method.level == Level("stage4", 384, 16)
    assert method.masking.grid == (6, 6, 6)
    assert method.masking.hidden == 162


def test_all_stages_learn_and_only_the_last_merging_does_not():
    torch.manual_seed(0)
    encoder = build_encoder("swin_tiny")
    method = IBOT(encoder, IBOT.Config(**SMALL), (48, 48, 48))
    assert method.level == Level("stage3", 64, 8)
    image = torch.rand(1, 1, 48, 48, 48, generator=torch.Generator().manual_seed(0))
    encoder(image)[method.level.name].square().sum().backward()
    unused = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert {name.rsplit(".", 2)[0] for name in unused} == {
        "layers3.0.downsample",
        "stage_norms",
    }
    assert not any(name.startswith("stage_norms.2") for name in unused)


def test_a_backbone_without_the_token_stride_is_refused(tiny_encoder):
    encoder = tiny_encoder()
    encoder.levels = (Level("fine", 4, 2), Level("deep", 8, 32))
    with pytest.raises(BenchError, match="ibot: no feature level of stride 16"):
        IBOT(encoder, IBOT.Config(**SMALL), CROP)


def test_a_cell_smaller_than_a_token_is_refused(build):
    with pytest.raises(BenchError, match="ibot: cell=8 must be a multiple of 16"):
        build(cell=8)
