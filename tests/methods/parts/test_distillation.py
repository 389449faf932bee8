from __future__ import annotations

import math

import pytest
import torch

from medssl_bench.methods.parts.distillation import Centre, cross_entropy, entropy, other_view


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def test_cross_entropy_and_its_gradient_equal_the_formula():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=generator, requires_grad=True)
    target = torch.randn(2, 3, 5, generator=generator).softmax(-1)
    loss = cross_entropy(logits, target, 0.1)
    loss.sum().backward()
    for n in range(2):
        for t in range(3):
            student = softmax([value / 0.1 for value in logits[n, t].tolist()])
            teacher = target[n, t].tolist()
            by_hand = -sum(p * math.log(q) for p, q in zip(teacher, student, strict=True))
            assert loss[n, t].item() == pytest.approx(by_hand, rel=1e-5)
            slope = [(q - p) / 0.1 for p, q in zip(teacher, student, strict=True)]
            assert logits.grad[n, t].tolist() == pytest.approx(slope, abs=1e-5)


def test_targets_are_centred_then_sharpened():
    centre = Centre(3, momentum=0.9)
    centre.value.copy_(torch.tensor([0.1, -0.2, 0.3]))
    (target,) = centre(torch.tensor([[0.5, 0.4, 0.6]]), 0.04).tolist()
    assert target == pytest.approx(softmax([0.4 / 0.04, 0.6 / 0.04, 0.3 / 0.04]), rel=1e-5)


def test_the_centre_is_a_moving_mean_over_batch_and_tokens():
    generator = torch.Generator().manual_seed(0)
    centre = Centre(4, momentum=0.9)
    expected = [0.0] * 4
    for _ in range(5):
        logits = torch.randn(3, 7, 4, generator=generator)
        before = centre.value.clone()
        centre(logits, 0.04)
        assert torch.equal(centre.value, before)
        centre.update()
        for k in range(4):
            mean = math.fsum(logits[..., k].flatten().tolist()) / 21
            expected[k] = 0.9 * expected[k] + 0.1 * mean
    assert centre.value.tolist() == pytest.approx(expected, abs=1e-6)


def test_accumulated_batches_enter_the_centre_as_one():
    logits = torch.randn(6, 4)
    once, twice = Centre(4, 0.9), Centre(4, 0.9)
    once(logits, 0.04)
    twice(logits[:2], 0.04)
    twice(logits[2:], 0.04)
    once.update()
    twice.update()
    torch.testing.assert_close(once.value, twice.value)


def test_drift_is_the_length_of_the_last_move():
    centre = Centre(2, momentum=0.9)
    assert centre.drift == 0
    for logits, length in (([3.0, 4.0], 0.5), ([0.3, 0.4], 0.0), ([0.3, 9.4], 0.9)):
        centre(torch.tensor([logits]), 0.04)
        centre.update()
        assert centre.drift.item() == pytest.approx(length, abs=1e-6)


def test_an_update_without_outputs_changes_nothing():
    centre = Centre(4, 0.9)
    centre.value.fill_(1.0)
    centre.update()
    assert torch.equal(centre.value, torch.ones(4))


def test_targets_carry_no_gradient_and_are_float32():
    centre = Centre(4, 0.9)
    logits = torch.randn(2, 4, dtype=torch.bfloat16, requires_grad=True)
    target = centre(logits, 0.04)
    assert not target.requires_grad
    assert target.dtype == torch.float32
    assert cross_entropy(logits, target, 0.1).dtype == torch.float32


def test_entropy_is_zero_for_certainty_and_log_n_for_ignorance():
    probabilities = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    assert entropy(probabilities).tolist() == pytest.approx([0.0, math.log(4)])


def test_the_other_view_of_a_crop_is_that_of_its_scan():
    first, second = torch.rand(2, 3, 5)
    assert torch.equal(other_view(torch.cat((first, second))), torch.cat((second, first)))
