"""nnU-Net's residual encoder as a backbone (that it equals nnU-Net's: test_checkpoint_file.py)."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from medssl_bench.errors import BenchError
from medssl_bench.networks import build_encoder, build_segmentor
from medssl_bench.networks.encoder import Encoder


def our_residual(**options: float) -> Encoder:
    pytest.importorskip("dynamic_network_architectures")
    small = {"widths": (4, 6, 8, 8, 10, 10), "blocks": (1, 1, 1, 2, 1, 1)}
    return build_encoder("resenc_l", **small, **options)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_segmentor_learns_through_it(precision: torch.dtype) -> None:
    network = build_segmentor("resenc_l", 1, 3, encoder=our_residual()).train()
    image = torch.rand(1, 1, 64, 64, 64)
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        logits = network(image)
    assert logits.shape == (1, 3, 64, 64, 64)
    logits.float().square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_drop_path_reaches_its_blocks() -> None:
    torch.manual_seed(0)
    encoder = our_residual(drop_path=0.5)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)
    image = torch.rand(1, 1, 64, 64, 64)
    one, other = (encoder.train()(image)["stage5"] for _ in range(2))
    assert not torch.equal(one, other)
    one, other = (encoder.eval()(image)["stage5"] for _ in range(2))
    assert torch.equal(one, other)


def test_a_residual_encoder_keeps_each_tensor_once_and_loads_it_back() -> None:
    encoder = our_residual()
    state = encoder.state_dict()
    assert sum(value.numel() for value in state.values()) == sum(
        p.numel() for p in encoder.parameters()
    )
    again = nn.ModuleDict({"encoder": our_residual()})
    again.load_state_dict({f"encoder.{name}": value for name, value in state.items()})
    assert all(
        torch.equal(value, again.encoder.state_dict()[name]) for name, value in state.items()
    )
    with pytest.raises(RuntimeError, match="Missing key"):
        again.load_state_dict({})
    with pytest.raises(BenchError, match="cannot mask"):
        our_residual()(torch.zeros(1, 1, 32, 32, 32), torch.zeros(1, 2, 2, 2, dtype=torch.bool))


def test_the_residual_encoder_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("unet", ""):
        path = "dynamic_network_architectures" + (f".architectures.{name}" if name else "")
        monkeypatch.setitem(sys.modules, path, None)
    with pytest.raises(BenchError, match=r"medssl-bench\[nnunet\]"):
        build_encoder("resenc_l")
