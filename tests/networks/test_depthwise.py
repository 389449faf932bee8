"""Depthwise convolutions against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medssl_bench.networks.depthwise import Depthwise


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize(("side", "shape"), [(3, (2, 4, 5, 6, 7)), (5, (1, 3, 6, 5, 8))])
def test_depthwise_gradients_are_torchs(
    side: int, shape: tuple[int, ...], precision: torch.dtype
) -> None:
    torch.manual_seed(0)
    convolution = Depthwise(shape[1], side).to(precision)
    volume = torch.randn(shape, dtype=precision, requires_grad=True)
    outward = torch.randn(shape, dtype=precision)
    weight, bias = (p.detach().clone().requires_grad_() for p in convolution.parameters())
    twin = volume.detach().clone().requires_grad_()
    plain = functional.conv3d(twin, weight, bias, padding=side // 2, groups=shape[1])
    own = convolution(volume)
    torch.testing.assert_close(own, plain)
    own.backward(outward)
    plain.backward(outward)
    pairs = [(volume, twin), (convolution.weight, weight), (convolution.bias, bias)]
    for mine, theirs in pairs:
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [3, 5])
def test_depthwise_gradients_equal_differences(side: int) -> None:
    torch.manual_seed(0)
    convolution = Depthwise(2, side).double()
    volume = torch.randn(2, 2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    weight, bias = convolution.weight.detach(), convolution.bias.detach()

    def convolve(volume: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(convolution, {"weight": weight, "bias": bias}, (volume,))

    inputs = (volume, weight.requires_grad_(), bias.requires_grad_())
    assert torch.autograd.gradcheck(convolve, inputs)


def test_depthwise_gradients_are_for_what_asks() -> None:
    convolution = Depthwise(4, 5)
    convolution.weight.requires_grad_(False)
    convolution(torch.rand(1, 4, 5, 5, 5)).sum().backward()
    assert convolution.weight.grad is None
    assert convolution.bias.grad.tolist() == [125.0] * 4
    frozen = convolution.requires_grad_(False)(torch.rand(1, 4, 5, 5, 5))
    assert not frozen.requires_grad


def test_depthwise_under_autocast_computes_in_bf16_like_torchs() -> None:
    torch.manual_seed(0)
    convolution = Depthwise(16, 3)
    volume = torch.randn(1, 16, 6, 6, 6).bfloat16().requires_grad_()
    twin = volume.detach().float().requires_grad_()
    weight = convolution.weight.detach().bfloat16().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = convolution(volume)
    assert found.dtype == torch.bfloat16
    expected = functional.conv3d(twin, weight, convolution.bias, padding=1, groups=16)
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    outward = torch.randn(found.shape).bfloat16()
    found.backward(outward)
    expected.backward(outward.float())
    assert (volume.grad.dtype, convolution.weight.grad.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(volume.grad.float(), twin.grad, rtol=0.02, atol=0.02)
    torch.testing.assert_close(convolution.weight.grad, weight.grad, rtol=0.02, atol=0.1)
