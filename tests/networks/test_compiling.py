"""Compiled blocks compute what the others do, and blocks are compiled only where it pays."""

from __future__ import annotations

import copy

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.networks import build_encoder, compiling
from medssl_bench.networks.compiling import WORTH_STEPS, compile_blocks, resolve_compile


@pytest.mark.parametrize(
    ("backbone", "side"),
    [("swin_tiny", 48), ("swin_tiny", 16), ("swin_586m", 32), ("uniformer_tiny", 16)],
)
def test_the_traced_program_is_the_same(backbone: str, side: int) -> None:
    """Traced, but run by torch's own kernels, so that no C compiler is needed."""
    torch.manual_seed(0)
    options = {"depths": (1, 1, 2, 1), "width": 16} if backbone == "swin_586m" else {}
    encoder = build_encoder(backbone, drop_path=0.0, **options).train()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    other = copy.deepcopy(encoder)
    compile_blocks(other, backend="aot_eager", fullgraph=True)
    image = torch.rand(2, 1, side, side, side)
    outputs, traced = encoder(image), other(image)
    for name, value in outputs.items():
        torch.testing.assert_close(traced[name], value, rtol=1e-5, atol=1e-5)
    for maps in (outputs, traced):
        sum(value.square().mean() for value in maps.values()).backward()  # type: ignore[union-attr]
    gradients = [[p.grad for p in network.parameters()] for network in (encoder, other)]
    assert all(gradient is not None for side in gradients for gradient in side)
    scale = max(float(gradient.abs().max()) for gradient in gradients[0])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-3, atol=1e-5 * scale)


def test_auto_compiles_long_runs_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "what_is_missing", lambda device: None)
    assert resolve_compile("auto", "cuda", WORTH_STEPS)
    assert not resolve_compile("auto", "cuda", WORTH_STEPS - 1)
    assert not resolve_compile("auto", "cpu", WORTH_STEPS)
    assert resolve_compile(True, "cpu", 1)
    assert not resolve_compile(False, "cuda", WORTH_STEPS)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not resolve_compile("auto", "cuda", WORTH_STEPS)
    with pytest.raises(BenchError, match=r"compile=true: torch.compile needs a C compiler"):
        resolve_compile(True, "cuda", 1)
