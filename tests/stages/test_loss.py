"""Supervised losses against a float64 hand computation."""

import numpy as np
import pytest
import torch

from medssl_bench.stages.loss import (
    dice_loss,
    one_hot_labels,
    output_channels,
    probabilities,
    segmentation_loss,
)


def dice_by_hand(p: np.ndarray, target: np.ndarray) -> float:
    """Mean over samples and channels of 1 - (2 sum pt + s) / (sum p^2 + sum t^2 + s)."""
    axes = (2, 3, 4)
    both = 2 * (p * target).sum(axes) + 1e-6
    return float((1 - both / ((p**2).sum(axes) + (target**2).sum(axes) + 1e-6)).mean())


@pytest.fixture
def sample() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 1, 4, 5, 6), generator=generator)
    return torch.randn(2, 3, 4, 5, 6, generator=generator), labels


def test_organs_are_dice_plus_cross_entropy_over_background_too(
    sample: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, labels = sample
    x, y = logits.double().numpy(), labels[:, 0].numpy()
    p = np.exp(x - x.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    target = np.stack([y == k for k in range(3)], 1).astype(float)
    entropy = -np.log((p * target).sum(1)).mean()
    loss = segmentation_loss("organs", 2)(logits, labels)
    assert output_channels("organs", 2) == 3
    assert float(loss) == pytest.approx(dice_by_hand(p, target) + entropy, rel=1e-5)


def test_tumours_are_dice_plus_binary_cross_entropy_per_class(
    sample: tuple[torch.Tensor, torch.Tensor],
) -> None:
    logits, labels = sample[0][:, :2], sample[1]
    x, y = logits.double().numpy(), labels[:, 0].numpy()
    p = 1 / (1 + np.exp(-x))
    target = np.stack([y == k for k in (1, 2)], 1).astype(float)
    entropy = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    loss = segmentation_loss("tumour", 2)(logits, labels)
    assert output_channels("tumour", 2) == 2
    assert float(loss) == pytest.approx(dice_by_hand(p, target) + entropy, rel=1e-5)


@pytest.mark.parametrize("softmax", [True, False])
def test_dice_and_its_gradient_equal_monais(softmax: bool) -> None:
    from monai.losses import DiceLoss
    from monai.networks import one_hot

    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 2, (2, 1, 5, 4, 6), generator=generator)  # class 2 is absent
    logits = torch.randn(2, 3, 5, 4, 6, generator=generator).requires_grad_()
    target = one_hot(labels, 3)
    words = {"squared_pred": True, "smooth_nr": 1e-6, "smooth_dr": 1e-6}
    theirs = DiceLoss(softmax=softmax, sigmoid=not softmax, **words)(logits, target)
    shares = logits.softmax(1) if softmax else logits.sigmoid()
    mine = dice_loss(shares, one_hot_labels(labels, 3))
    assert torch.equal(one_hot_labels(labels, 3), target)
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-6)
    (first,) = torch.autograd.grad(mine, logits, retain_graph=True)
    (second,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-9)


def test_probabilities_of_organs_sum_to_one() -> None:
    logits = torch.randn(1, 4, 2, 2, 2)
    assert torch.allclose(probabilities(logits, "organs").sum(1), torch.ones(1, 2, 2, 2))
    assert torch.equal(probabilities(logits, "tumour"), logits.sigmoid())
