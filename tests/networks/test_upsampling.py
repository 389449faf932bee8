"""Composed weights are the two convolutions that they replace, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medssl_bench.networks import upsampling
from medssl_bench.networks.convolutions import UpBlock


@pytest.mark.parametrize("kind", ["convolved", "pointwise"])
def test_equal_to_both_convolutions(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    size = 3 if kind == "convolved" else 1
    coarse, fine = values(2, 3, 4, 5, 6), values(2, 4, 8, 10, 12)
    up, weight = values(3, 5, 2, 2, 2), values(4, 5, size, size, size)
    inputs = (fine, coarse, up, weight)
    doubled = functional.conv_transpose3d(coarse, up, stride=2)
    expected = fine + functional.conv3d(doubled, weight, padding=size // 2)
    add = getattr(upsampling, f"add_{kind}")
    found = add(fine.clone(memory_format=torch.channels_last_3d), coarse, up, weight)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    towards = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, towards),
        torch.autograd.grad(expected, inputs, towards),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_an_up_block_is_the_same_both_ways(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = UpBlock(12, 6, norm).double()
    volume = torch.randn(2, 12, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    skip = torch.randn(2, 6, 8, 6, 10, dtype=torch.float64, requires_grad=True)
    results = []
    for composed in (False, True):
        monkeypatch.setattr(upsampling, "saves", lambda *_, value=composed: value)
        block.zero_grad()
        out = block(volume, skip)
        grads = torch.autograd.grad(
            (out * out.detach().cos()).sum(), [volume, skip, *block.parameters()]
        )
        results.append((out, *grads))
    for plain, composed_value in zip(*results, strict=True):
        torch.testing.assert_close(composed_value, plain, rtol=1e-9, atol=1e-9)


def test_used_where_it_saves() -> None:
    small, large = torch.empty(1, 96, 8, 8, 8), torch.empty(1, 96, 24, 24, 24)
    assert not upsampling.saves(small, 48)
    assert upsampling.saves(large, 48)
    assert not upsampling.saves(large, 1000)
    assert not upsampling.saves(large.double(), 48)
    with torch.autocast("cpu", torch.bfloat16):
        assert not upsampling.saves(large, 48)
