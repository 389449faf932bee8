"""Layers tapped from encoders, and where their heads look, against dense computations."""

import math
from collections.abc import Callable

import pytest
import torch

from medssl_bench.networks import build_encoder
from medssl_bench.networks.encoder import Encoder, Level
from medssl_bench.networks.swin import SwinConfig, SwinEncoder
from medssl_bench.networks.tapping import gaze, layer_names, tapped
from medssl_bench.networks.windows import cut, partition


class Convolutions(Encoder):
    """A backbone without transformer blocks: two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels = 1
        self.levels = (Level("fine", 3, 2), Level("coarse", 5, 4))
        self.fine = torch.nn.Conv3d(1, 3, 2, 2)
        self.coarse = torch.nn.Conv3d(3, 5, 2, 2)

    def forward(self, image, mask=None, mask_token=None):
        fine = self.fine(image)
        return {"fine": fine, "coarse": self.coarse(fine)}


def hooks(encoder: Encoder) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in encoder.modules())


def test_every_block_of_paper_004s_encoder_is_a_layer() -> None:
    with torch.device("meta"):
        encoder = build_encoder("swin_65m")
    assert len(layer_names(encoder)) == 14
    assert layer_names(encoder)[-1] == "stage4.block2"


@pytest.mark.parametrize("build", [lambda: build_encoder("swin_tiny"), Convolutions])
def test_layers_come_in_order_and_no_hook_stays(build: Callable[[], Encoder]) -> None:
    encoder = build().eval()
    before = hooks(encoder)
    seen: dict[str, torch.Tensor] = {}
    side = encoder.total_stride * 2
    image = torch.randn(1, 1, side, side, side)
    with torch.no_grad(), tapped(encoder, lambda layer, features: seen.update({layer: features})):
        maps = encoder(image)
    assert list(seen) == layer_names(encoder)
    assert hooks(encoder) == before
    if not isinstance(encoder, SwinEncoder):
        assert all(torch.equal(seen[level], maps[level]) for level in maps)
    else:
        last = encoder.stages()[-1].downsample(seen["stage3.block2"].permute(0, 2, 3, 4, 1))
        assert torch.equal(last.permute(0, 4, 1, 2, 3), maps["merge3"])


def test_hooks_go_when_the_forward_pass_fails() -> None:
    encoder = build_encoder("swin_tiny")

    def fail(layer: str, features: torch.Tensor) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"), tapped(encoder, fail):
        encoder(torch.zeros(1, 1, 32, 32, 32))
    assert hooks(encoder) == 0


def tiny(version: str, window: int = 2, heads: int = 2) -> SwinEncoder:
    torch.manual_seed(0)
    config = SwinConfig((2,), (heads,), width=8, window=window, version=version, qkv_bias=True)  # type: ignore[arg-type]
    return SwinEncoder(1, config).eval()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("shifted", [False, True])
def test_gaze_equals_a_dense_computation(version: str, shifted: bool) -> None:
    """Grid 5x4x4, windows of 2^3: the first axis is padded to 6; shifts hide pairs."""
    torch.manual_seed(1)
    grid, pitch = (5, 4, 4), (1.0, 2.0, 3.0)
    attention = tiny(version).stages()[0].blocks[0].attn
    tokens = torch.randn(2, *grid, 8)
    cutting = cut(grid, 2, shifted)
    with torch.no_grad():
        found = gaze(attention, partition(tokens, cutting), cutting, pitch)

    # Token by token: who is in whose window is found from positions, without windows.py.
    shift = 1 if shifted else 0
    places = [(a, b, c) for a in range(5) for b in range(4) for c in range(4)]

    def window_of(place: tuple[int, ...]) -> tuple[int, ...]:
        return tuple((p + shift) // 2 for p in place)

    with torch.no_grad():
        flat = torch.stack([tokens[:, a, b, c] for a, b, c in places], 1)
        q, k, _ = attention.project(flat)
        bias = attention.bias(8)
        sums = torch.zeros(2, 2, dtype=torch.float64)
        plain = torch.zeros(2, dtype=torch.float64)
        for i, here in enumerate(places):
            others = [j for j, there in enumerate(places) if window_of(there) == window_of(here)]
            steps = torch.tensor([places[j] for j in others]) - torch.tensor(here)
            far = (steps * torch.tensor(pitch)).norm(dim=1)
            inside = [tuple((p + shift) % 2 for p in places[j]) for j in (i, *others)]
            rows = [4 * a + 2 * b + c for a, b, c in inside]
            logits = (q[:, :, i, None] * k[:, :, others]).sum(-1) + bias[:, rows[0], rows[1:]]
            weights = logits.double().softmax(-1)  # (B, heads, others)
            sums[:, 0] += (weights * far).sum(-1).mean(0) / len(places)
            sums[:, 1] -= (weights * weights.log()).sum(-1).mean(0) / len(places)
            plain += torch.tensor([far.mean(), math.log(len(others))]) / len(places)
    torch.testing.assert_close(found.distance, sums[:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.entropy, sums[:, 1], rtol=1e-5, atol=1e-6)
    assert found.uniform_distance == pytest.approx(float(plain[0]), rel=1e-5)
    assert found.uniform_entropy == pytest.approx(float(plain[1]), rel=1e-5)


def test_a_head_that_sees_only_itself_looks_nowhere_else() -> None:
    attention = tiny("v1").stages()[0].blocks[0].attn
    cutting = cut((4, 4, 4), 2, False)
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.relative_position_bias_table.zero_()
        attention.relative_position_bias_table[13] = 60.0  # offset 0 of 3^3
        found = gaze(attention, torch.randn(8, 8, 8), cutting, (1, 1, 1))
    assert found.distance.abs().max() < 1e-6 and found.entropy.abs().max() < 1e-6
    assert found.uniform_entropy == pytest.approx(math.log(8))
    assert found.uniform_distance == pytest.approx((3 + 3 * math.sqrt(2) + math.sqrt(3)) / 8)
