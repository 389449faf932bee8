"""BrainMVP against float64 computations by hand, and what it refuses."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Place, Progress
from medssl_bench.methods.brainmvp import BrainMVP
from medssl_bench.methods.parts.templates import Templates
from medssl_bench.networks import build_classifier, build_encoder, build_segmentor
from medssl_bench.networks.channels import load_pretrained

CROP = (16, 16, 16)
TEMPLATE = (24, 20, 18)
OPTIONS = {"depths": (1, 1), "widths": (4, 8), "attends": (False, True), "head_width": 4}
CASES = (("T1", "T2", "FLAIR"), ("T1c", "ADC"), ("T2", "MRA", "PD", "DWI"))
PLACES = (
    Place((2, 0, 1), (20, 18, 18)),
    Place((4, 2, 0), (24, 20, 16)),
    Place((10, -2, 3), (30, 12, 20)),  # larger than the template, and smaller than the crop
)


def build(**settings: object) -> BrainMVP:
    torch.manual_seed(0)
    config = BrainMVP.Config(**{"template": TEMPLATE, "cell": 4, **settings})  # type: ignore[arg-type]
    return BrainMVP(build_encoder("uniformer3d", **OPTIONS), config, CROP)


def batch(step: int = 0, steps: int = 3, first: int = 0) -> Batch:
    """Three cases of different modalities; ``first`` rotates their order of drawing."""
    source = torch.Generator().manual_seed(5)
    channels = tuple({name: torch.rand(CROP, generator=source) for name in case} for case in CASES)
    generators = tuple(torch.Generator().manual_seed(first + i) for i in range(len(CASES)))
    return Batch((), Progress(step, steps), generators, channels=channels, places=PLACES)


def draws_of(method: BrainMVP, first: int = 0) -> tuple[list[tuple[str, str]], Tensor]:
    """The pairs and the masks ``(2, B, 4, 4, 4)`` that ``batch(first=first)`` draws."""
    again = batch(first=first)
    pairs = [method.draw(*each) for each in zip(again.channels, again.generators, strict=True)]
    return pairs, method.masking.draw(again, views=2).unflatten(0, (2, -1))


def learned(method: BrainMVP) -> BrainMVP:
    """Give the templates values, of another range each."""
    source = torch.Generator().manual_seed(3)
    values = torch.randn(method.templates.volumes.shape, generator=source)
    scale = torch.arange(1.0, 9).view(-1, 1, 1, 1, 1)
    method.templates.volumes.data.copy_(values * scale + scale)
    return method


def test_defaults_are_the_papers() -> None:
    config = BrainMVP.Config()
    assert (config.ratio, config.cell) == (0.875, 8)
    assert (config.lambda_md, config.lambda_cl, config.template_only) == (1, 1, 0)
    assert config.contrast_from * 1500 == pytest.approx(1000)
    assert config.template == (240, 240, 155)
    assert config.modalities == ("FLAIR", "T1", "T1c", "T2", "MRA", "PD", "DWI", "ADC")


def test_templates_have_the_papers_size_and_start_from_zero() -> None:
    with torch.device("meta"):
        method = BrainMVP(build_encoder("uniformer3d"), BrainMVP.Config(), (96, 96, 96))
    assert method.templates.volumes.shape == (8, 1, 240, 240, 155)
    assert not build().templates.volumes.any()
    counts = [
        sum(p.numel() for p in part.parameters()) for part in (method.encoder, method.decoder)
    ]
    # Transposed convolutions 512-320-128-64-64 without biases, and 64 weights and a bias.
    widths = (512, 320, 128, 64, 64)
    assert counts == [22_038_464, 8 * sum(a * b for a, b in itertools.pairwise(widths)) + 65]


@pytest.mark.parametrize("ratio", [0.875, 0.8])
def test_masks_hit_the_ratio_on_the_grid_of_the_paper(ratio: float) -> None:
    with torch.device("meta"):
        encoder = build_encoder("uniformer3d")
    method = BrainMVP(encoder, BrainMVP.Config(template=(96, 96, 96), ratio=ratio), (96, 96, 96))
    generators = tuple(torch.Generator().manual_seed(i) for i in range(3))
    masks = method.masking.draw(Batch((), Progress(0, 1), generators), views=2)
    assert masks.shape == (6, 12, 12, 12)
    visible = int((1 - ratio) * 1728 + 1e-9)  # as its code counts them, rounded down
    assert masks.flatten(1).sum(1).tolist() == [1728 - visible] * 6
    assert ratio != 0.875 or masks.float().mean() == 0.875
    assert not torch.equal(masks[:3], masks[3:])  # each copy of a case has its own


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("settings", [{}, {"lambda_md": 10.0, "tau": 0.2, "lambda_cl": 0.5}])
def test_losses_and_gradients_equal_a_float64_computation(
    settings: dict[str, float], step: int
) -> None:
    method = learned(build(**settings)).train()
    reference = copy.deepcopy(method).double()
    losses = method(batch(step))
    losses.total.backward()

    given, (pairs, masks) = batch(step), draws_of(method)
    volumes, config = reference.templates.volumes, method.config
    inputs: list[list[Tensor]] = [[], []]
    targets = []
    for i, (own, other) in enumerate(pairs):
        assert own != other and {own, other} <= set(CASES[i])
        whole = volumes[config.modalities.index(own), 0]
        low, high = whole.detach().min(), whole.detach().max()
        target = given.channels[i][own].double()
        fill = torch.zeros(2, *CROP, dtype=torch.float64)
        fill[1] = given.channels[i][other].double()
        for voxel in itertools.product(range(16), repeat=3):
            at = [
                voxel[k] + PLACES[i].start[k] + (TEMPLATE[k] - PLACES[i].shape[k]) // 2
                for k in range(3)
            ]
            if all(0 <= at[k] < TEMPLATE[k] for k in range(3)):
                fill[(0, *voxel)] = (whole[tuple(at)] - low) / (high - low)
        for copy_, view in enumerate(inputs):
            hidden = masks[copy_, i].double()
            hidden = torch.kron(hidden, torch.ones(4, 4, 4, dtype=torch.float64))
            view.append(fill[copy_] * hidden + target * (1 - hidden))
        targets.append(target)
    features = reference.encoder(torch.stack(inputs[0] + inputs[1]).unsqueeze(1))["stage2"]
    rebuilt = features
    for up in reference.decoder.ups:
        rebuilt = torch.nn.functional.conv_transpose3d(rebuilt, up.weight, stride=2)
    weight, bias = reference.decoder.project.weight, reference.decoder.project.bias
    rebuilt = torch.nn.functional.conv3d(rebuilt, weight, bias)[:, 0]
    target = torch.stack(targets)
    md = ((rebuilt[:3] - target) ** 2).sum() / target.numel()
    cmr = ((rebuilt[3:] - target) ** 2).sum() / target.numel()
    expected = cmr + config.lambda_md * md
    terms = {"cmr": cmr, "md": md}
    if step == 2:
        rows = [row.flatten() / row.flatten().norm() for row in features]
        cl = torch.zeros((), dtype=torch.float64)
        for i, j in [(0, 3), (1, 4), (2, 5)]:
            for anchor, partner, rivals in ((i, j, (3, 4, 5)), (j, i, (0, 1, 2))):
                each = torch.stack([(rows[anchor] @ rows[k] / config.tau).exp() for k in rivals])
                mine = (rows[anchor] @ rows[partner] / config.tau).exp()
                cl = cl - (mine / each.sum()).log() / 6
        expected, terms = expected + config.lambda_cl * cl, {**terms, "cl": cl}
    expected.backward()

    assert losses.terms.keys() == terms.keys()
    for name, value in terms.items():
        assert losses.terms[name].item() == pytest.approx(value.item(), rel=1e-4), name
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-4)
    for (name, mine), theirs in zip(method.named_parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None, name
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_part_without_weight_is_not_computed_and_decides_nothing() -> None:
    """Paper 003, Table 4: without template copies, the batch norms see none of them either."""
    whole, alone = build(contrast_from=0.0), build(lambda_md=0.0, lambda_cl=0.0)
    seen: list[Tensor] = []
    alone.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    losses = alone(batch())
    losses.total.backward()
    assert {*losses.terms} == {"cmr"} and torch.equal(losses.total, losses.terms["cmr"])
    (image,) = seen
    assert len(image) == len(CASES)
    given, (pairs, masks) = batch(), draws_of(alone)
    for i, (own, other) in enumerate(pairs):
        hidden = alone.masking.enlarge(masks[1, i][None], 1)[0]
        expected = torch.where(hidden, given.channels[i][other], given.channels[i][own])
        assert torch.equal(image[i, 0], expected)
    assert alone.templates.volumes.grad is None
    assert {*whole(batch()).terms} == {"cmr", "md", "cl"}
    assert {*build(contrast_from=0.0, lambda_cl=0.0)(batch()).terms} == {"cmr", "md"}
    assert {*build(contrast_from=0.0, lambda_md=0.0)(batch()).terms} == {"cmr", "cl"}


def test_templates_of_modalities_that_were_not_drawn_get_no_gradient() -> None:
    method = learned(build())
    method(batch()).total.backward()
    pairs, _ = draws_of(method)
    drawn = {own for own, _ in pairs}
    gradient = method.templates.volumes.grad
    assert gradient is not None
    for name, part in zip(method.config.modalities, gradient, strict=True):
        assert bool(part.any()) == (name in drawn), name


def test_a_flat_template_learns_where_it_is_seen_and_nowhere_else() -> None:
    """At the start, too, where its range is zero; one step of AdamW leaves the rest at zero."""
    method = build()
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    method(batch()).total.backward()
    gradient = method.templates.volumes.grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().max() < 1
    optimizer.step()
    pairs, masks = draws_of(method)
    moved = method.templates.volumes.detach() != 0
    seen = torch.zeros_like(moved)
    for i, (own, _) in enumerate(pairs):
        hidden = method.masking.enlarge(masks[0, i][None], 1)[0]
        start = [PLACES[i].start[k] + (TEMPLATE[k] - PLACES[i].shape[k]) // 2 for k in range(3)]
        for voxel in hidden.nonzero().tolist():
            at = [first + inside for first, inside in zip(start, voxel, strict=True)]
            if all(0 <= place < side for place, side in zip(at, TEMPLATE, strict=True)):
                seen[(method.templates.modalities.index(own), 0, *at)] = True
    assert moved.any() and not (moved & ~seen).any()
    assert (moved & seen).sum() > 0.99 * seen.sum()


def test_the_contrast_is_off_before_its_epoch() -> None:
    method = build(contrast_from=0.5)
    assert [("cl" in method(batch(step, steps=4)).terms) for step in range(4)] == [
        False, False, True, True,
    ]  # fmt: skip
    method = build()
    assert "cl" not in method(batch(999, steps=1500)).terms
    assert "cl" in method(batch(1000, steps=1500)).terms


def test_both_copies_show_the_template_where_that_is_asked_for() -> None:
    """As the public code does early: then nothing of the other modality is seen."""
    method = build(template_only=0.5)
    given = batch(0, steps=2)
    pairs, _ = draws_of(method)
    before = method(given).total
    changed = batch(0, steps=2)
    for channels, (_, other) in zip(changed.channels, pairs, strict=True):
        channels[other] += 1
    assert torch.equal(method(changed).total, before)
    later = batch(1, steps=2)
    for channels, (_, other) in zip(later.channels, pairs, strict=True):
        channels[other] += 1
    assert not torch.equal(method(later).total, method(batch(1, steps=2)).total)


def test_every_pair_of_a_cases_modalities_is_drawn() -> None:
    method = build()
    generator = torch.Generator().manual_seed(0)
    channels = {name: torch.zeros(1) for name in ("T1", "ADC", "PD")}
    drawn = [method.draw(channels, generator) for _ in range(600)]
    counts = {pair: drawn.count(pair) for pair in itertools.permutations(channels, 2)}
    assert sum(counts.values()) == 600 and min(counts.values()) > 60


@pytest.mark.parametrize("backbone", ["uniformer_tiny", "swin_tiny"])
def test_the_encoder_transfers_to_both_decoders(backbone: str) -> None:
    torch.manual_seed(0)
    config = BrainMVP.Config(template=(48, 48, 48))
    method = BrainMVP(build_encoder(backbone), config, (48, 48, 48))
    state = method.encoder_state()
    fresh = BrainMVP(build_encoder(backbone), config, (48, 48, 48)).eval()
    fresh.encoder.load_state_dict(state)
    encoder = build_encoder(backbone, in_channels=4)
    load_pretrained(encoder, state, "repeat")
    image = torch.rand(1, 1, 48, 48, 48)
    channels = image.expand(-1, 4, -1, -1, -1).contiguous()
    with torch.no_grad():
        expected = method.encoder.eval()(image)[method.encoder.levels[-1].name]
        found = fresh.encoder(image)[fresh.encoder.levels[-1].name]
        assert torch.equal(found, expected)
        assert fresh.decoder({fresh.decoder.level.name: found}).shape == image.shape
        several = encoder.eval()(channels)[encoder.levels[-1].name]
        torch.testing.assert_close(several, expected, rtol=1e-4, atol=1e-4)
        segmentor = build_segmentor(backbone, 4, 3, encoder).eval()
        assert segmentor(channels).shape == (1, 3, 48, 48, 48)
        assert build_classifier(encoder, 2).eval()(channels).shape == (1, 2)


def test_a_window_of_a_template_lies_where_the_crop_does() -> None:
    templates = Templates(("T1", "T2"), (6, 5, 4))
    templates.volumes.data[1, 0] = torch.arange(120.0).view(6, 5, 4) - 20
    # Volume of 4 x 5 x 8: its first voxel is voxel (1, 0, -2) of the template.
    window = templates.window("T2", Place((1, 0, 3), (4, 5, 8)), (2, 2, 4))
    expected = torch.zeros(2, 2, 4)
    expected[..., :3] = templates.volumes.data[1, 0, 2:4, 0:2, 1:4]
    expected[..., :3] = (expected[..., :3] + 20) / 119
    torch.testing.assert_close(window, expected)
    beyond = templates.window("T2", Place((90, 0, 0), (100, 5, 4)), (2, 2, 2))
    assert beyond.shape == (2, 2, 2) and not beyond.any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"template": (24, 12, 24)}, r"template=\(24, 12, 24\) is smaller than the crop"),
        ({"cell": 5}, "cell=5 does not divide the crop"),
        ({"ratio": 1.0}, "ratio=1.0"),
        ({"tau": 0.0}, "tau=0.0 must be above 0"),
        ({"lambda_md": -1.0}, "lambda_md=-1.0 must be 0 or above"),
        ({"modalities": ("T1",)}, "two or more"),
        ({"modalities": ("T1", "T1")}, "each named once"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        build(**settings)


def test_cases_of_no_use_are_named() -> None:
    method = build()
    assert method.fault_of(("T1", "ADC")) == ""
    assert method.fault_of(("T1",)) == "needs 2 modalities of a case, it has T1"
    assert method.fault_of(()) == "needs 2 modalities of a case, it has none"
    assert "no template for modality SWI" in method.fault_of(("T1", "SWI"))


def test_templates_of_another_size_are_not_taken_over() -> None:
    state = build().state_dict()
    with pytest.raises(RuntimeError, match=r"templates.volumes.*24, 20, 18.*26, 20, 18"):
        build(template=(26, 20, 18)).load_state_dict(state)


class Faithful(torch.nn.Module):
    """A network that rebuilds what it sees exactly: encoder and decoder at once."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.levels = encoder.levels

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {self.levels[-1].name: image}


def test_a_template_becomes_the_mean_of_its_modality_where_the_network_rebuilds_well() -> None:
    """The error from templates is least where T = E[X_m]; crops anywhere, contrasts missing."""
    source = torch.Generator().manual_seed(8)
    size, shape = (16, 16, 16), (20, 20, 16)
    means = {name: torch.rand(shape, generator=source) for name in ("T1", "T2", "FLAIR")}
    method = build(template=shape, lambda_cl=0.0)
    method.encoder = Faithful(method.encoder)
    method.decoder = Faithful.__new__(Faithful)  # of any kind; what it is called with comes back
    torch.nn.Module.__init__(method.decoder)
    method.decoder.forward = lambda features: next(iter(features.values()))
    optimizer = torch.optim.AdamW(method.templates.parameters(), lr=2e-2, weight_decay=0.0)
    followed: dict[str, list[float]] = {name: [] for name in means}
    for step in range(600):
        places, channels = [], []
        for case in range(3):
            start = tuple(int(torch.randint(n - 15, (), generator=source)) for n in shape)
            window = tuple(slice(a, a + 16) for a in start)
            noise = 0.2 * torch.randn((3, *size), generator=source)
            kept = [name for i, name in enumerate(means) if i != (case + step) % 6]
            channels.append({n: means[n][window] + noise[i] for i, n in enumerate(kept)})
            places.append(Place(start, shape))
        generators = tuple(torch.Generator().manual_seed(3 * step + i) for i in range(3))
        given = Batch(
            (), Progress(step, 600), generators, channels=tuple(channels), places=tuple(places)
        )
        optimizer.zero_grad()
        method(given).total.backward()
        optimizer.step()
        if step + 1 in (60, 200, 600):
            for name, found in method.templates.learned().items():
                both = torch.stack([found.flatten(), means[name].flatten()])
                followed[name].append(float(torch.corrcoef(both)[0, 1]))
    for name, found in followed.items():
        assert found == sorted(found) and found[-1] > 0.9, (name, found)
