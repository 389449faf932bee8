from __future__ import annotations

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.contrast import nt_xent, paired_info_nce


def codes(scans: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, scans, 7, generator=generator)
    return first.requires_grad_(), second.requires_grad_()


def by_hand(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, list, list]:
    """The formula of paper 004, anchor by anchor; and all cosines by kind."""
    views = [*first, *second]
    scans, total = len(first), torch.zeros((), dtype=torch.float64)
    positives, negatives = [], []
    for i, anchor in enumerate(views):
        j = (i + scans) % (2 * scans)
        weights = []
        for k, other in enumerate(views):
            if k == i:
                continue
            cosine = (anchor * other).sum() / ((anchor**2).sum().sqrt() * (other**2).sum().sqrt())
            weights.append(torch.exp(cosine / temperature))
            (positives if k == j else negatives).append(cosine.item())
            if k == j:
                numerator = weights[-1]
        assert len(weights) == 2 * scans - 1
        total = total - torch.log(numerator / sum(weights))
    return total / (2 * scans), positives, negatives


@pytest.mark.parametrize("temperature", [0.5, 0.07])
@pytest.mark.parametrize("scans", [2, 5])
def test_loss_and_gradients_equal_the_formula_in_float64(scans, temperature):
    first, second = codes(scans)
    one, two = (view.detach().double().requires_grad_() for view in (first, second))
    contrast = nt_xent(first, second, temperature)
    contrast.loss.backward()
    expected, positives, negatives = by_hand(one, two, temperature)
    expected.backward()
    assert contrast.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for mine, theirs in ((first, one), (second, two)):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)
    assert contrast.positive.item() == pytest.approx(sum(positives) / len(positives), abs=1e-6)
    assert contrast.negative.item() == pytest.approx(sum(negatives) / len(negatives), abs=1e-6)
    assert len(negatives) == 2 * scans * 2 * (scans - 1)


@pytest.mark.parametrize("temperature", [0.5, 0.1])
def test_loss_and_gradients_equal_lightlys(temperature):
    first, second = codes()
    one, two = codes()
    nt_xent(first, second, temperature).loss.backward()
    theirs = NTXentLoss(temperature=temperature)(one, two)
    theirs.backward()
    assert nt_xent(first, second, temperature).loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    torch.testing.assert_close(first.grad, one.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second.grad, two.grad, rtol=1e-5, atol=1e-6)


def test_the_positive_is_the_same_row_of_the_other_view():
    scans = 3
    same = torch.eye(scans)
    aligned = nt_xent(same, same, 0.5)
    # Of 2N - 1 candidates one has cosine 1 and the others 0.
    assert aligned.loss.item() == pytest.approx(math.log(1 + (2 * scans - 2) * math.exp(-2.0)))
    assert (aligned.positive.item(), aligned.negative.item()) == (1.0, 0.0)
    shifted = nt_xent(same, same.roll(1, dims=0), 0.5)
    assert shifted.positive.item() == 0.0
    assert shifted.negative.item() == pytest.approx(1 / (2 * scans - 2))


def test_lengths_of_codes_do_not_matter():
    first, second = codes()
    stretched = nt_xent(first * torch.rand(4, 1).add(0.1), 50 * second, 0.5)
    torch.testing.assert_close(stretched.loss, nt_xent(first, second, 0.5).loss)


def test_bf16_codes_are_compared_in_float32():
    first, second = (view.detach().bfloat16() for view in codes())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(first, second, 0.5).loss
    assert loss.dtype == torch.float32
    assert torch.equal(loss, nt_xent(first.float(), second.float(), 0.5).loss)


def test_one_scan_has_nothing_to_be_told_from():
    with pytest.raises(BenchError, match="a contrast needs two scans"):
        nt_xent(torch.ones(1, 3), torch.ones(1, 3), 0.5)


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_the_paired_contrast_equals_the_formula_in_float64(temperature):
    """Equations 4 and 5 of paper 003, anchor by anchor, and the cosines they come from."""
    first, second = codes(4)
    contrast = paired_info_nce(first, second, temperature)
    contrast.loss.backward()
    one, two = (view.detach().double().requires_grad_() for view in (first, second))
    rows = [[row / row.norm() for row in view] for view in (one, two)]
    total, positives, negatives = 0.0, [], []
    for near, far in (rows, rows[::-1]):
        for i in range(4):
            weights = [((near[i] * far[j]).sum() / temperature).exp() for j in range(4)]
            total = total - torch.log(weights[i] / sum(weights)) / 8
            for j in range(4):
                (positives if i == j else negatives).append((near[i] * far[j]).sum().item())
    total.backward()
    assert contrast.loss.item() == pytest.approx(total.item(), rel=1e-5)
    for mine, theirs in ((first, one), (second, two)):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)
    assert contrast.positive.item() == pytest.approx(sum(positives) / 8, abs=1e-6)
    assert contrast.negative.item() == pytest.approx(sum(negatives) / 24, abs=1e-6)
    with pytest.raises(BenchError, match="two scans"):
        paired_info_nce(first[:1], second[:1], temperature)
