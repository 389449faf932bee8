"""CKA against hand computations, an independent float64 formula, and ckatorch."""

from itertools import combinations

import numpy as np
import pytest
import torch
from ckatorch.core import cka_batch
from numpy.typing import NDArray
from scipy.stats import ortho_group

from medssl_bench.analysis.similarity import MinibatchCKA, cka, consistency, hsic, u_centred

A = np.array([[0, 1], [4, 2], [2, 4], [1, 0], [1, 4], [2, 2]])
B = np.array([[1, 0], [2, 1], [0, 3], [1, 1], [4, 0], [2, 2]])

Array = NDArray[np.float64]


def three_terms(x: Array, y: Array) -> float:
    """HSIC1 as Song et al. 2012 write it, equation 5, in float64."""
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    n, ones = len(k), np.ones(len(k))
    middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    total = np.trace(k @ m) + middle - 2 * (ones @ k @ m @ ones) / (n - 2)
    return float(total / (n * (n - 3)))


def minibatch(groups: list[tuple[list[Array], list[Array]]]) -> MinibatchCKA:
    table = MinibatchCKA()
    for first, second in groups:
        table.add([u_centred(one) for one in first], [u_centred(one) for one in second])
    return table


@pytest.fixture
def pair() -> tuple[Array, Array]:
    """Features of two layers, 10 samples, related but not the same."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10, 7))
    return x, np.tanh(x @ rng.normal(size=(7, 5))) + 0.3 * rng.normal(size=(10, 5))


def test_worked_by_hand() -> None:
    a, b = u_centred(A), u_centred(B)
    assert hsic(a, b) == pytest.approx(-2.15)
    assert hsic(a, a) == pytest.approx(686 / 90)
    assert hsic(b, b) == pytest.approx(97 / 30)
    assert cka(A, B) == pytest.approx(-0.433084, abs=1e-6)
    assert cka(A, B, unbiased=False) == pytest.approx(0.140658, abs=1e-6)


def test_u_centred_matrices_have_a_zero_diagonal_and_rows_that_sum_to_zero(pair) -> None:
    matrix = u_centred(pair[0])
    assert (np.diagonal(matrix) == 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 0, atol=1e-12)


def test_equals_the_three_term_formula(pair) -> None:
    x, y = pair
    for a, b in ((x, y), (x, x), (y, y)):
        assert hsic(u_centred(a), u_centred(b)) == pytest.approx(three_terms(a, b), rel=1e-11)


def test_float32_with_a_large_offset_equals_float64(pair) -> None:
    """The three-term formula in float32 loses every digit here."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(16, 4000))
    for offset in (0.0, 10.0, 100.0, 300.0):
        y = (x + offset).astype(np.float32)
        assert hsic(u_centred(y), u_centred(y)) == pytest.approx(three_terms(x, x), rel=1e-3)
    assert cka(x, (x + 300).astype(np.float32)) == pytest.approx(1, abs=1e-5)


def test_minibatches_over_every_subset_equal_the_full_batch(pair) -> None:
    x, y = pair
    subsets = [list(rows) for rows in combinations(range(10), 4)]
    found = [hsic(u_centred(x[rows]), u_centred(y[rows])) for rows in subsets]
    assert np.mean(found) == pytest.approx(hsic(u_centred(x), u_centred(y)), rel=1e-11)
    table = minibatch([([x[rows], y[rows]], [y[rows], x[rows]]) for rows in subsets])
    full = minibatch([([x, y], [y, x])])
    np.testing.assert_allclose(table.matrix, full.matrix, rtol=1e-11)
    assert table.groups == 210


def test_layer_by_layer_equals_ckatorch_and_the_ratio_of_mean_formulas() -> None:
    rng = np.random.default_rng(3)
    groups = [
        ([rng.normal(size=(16, d)) for d in (5, 30, 200)], [rng.normal(size=(16, 40))])
        for _ in range(5)
    ]
    groups = [(a, [b[0], a[1][:, ::-1] ** 3]) for a, b in groups]
    table = minibatch(groups)
    assert table.matrix.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            x, y = np.stack([a[i] for a, _ in groups]), np.stack([b[j] for _, b in groups])
            theirs = float(cka_batch(torch.from_numpy(x), torch.from_numpy(y.copy())))
            sums = [
                sum(three_terms(p, q) for p, q in zip(*both, strict=True))
                for both in ((x, y), (x, x), (y, y))
            ]
            assert table.matrix[i, j] == pytest.approx(theirs, rel=1e-10)
            assert table.matrix[i, j] == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]))
    np.testing.assert_array_equal(table.diagonal, np.diagonal(table.matrix))


def test_the_ratio_of_means_is_not_the_mean_of_ratios(pair) -> None:
    x, y = pair
    subsets = [list(rows) for rows in combinations(range(10), 4)]
    ratios = np.mean([cka(x[rows], y[rows]) for rows in subsets])
    assert abs(ratios - cka(x, y)) > 0.02


@pytest.mark.parametrize("unbiased", [True, False])
def test_invariances(pair, unbiased: bool) -> None:
    x, y = pair
    base = cka(x, y, unbiased=unbiased)
    turn = ortho_group.rvs(7, random_state=0)
    assert cka(x, x, unbiased=unbiased) == pytest.approx(1)
    assert cka(y, x, unbiased=unbiased) == pytest.approx(base)
    assert cka(x @ turn, y, unbiased=unbiased) == pytest.approx(base)
    assert cka(-3 * x, 0.1 * y, unbiased=unbiased) == pytest.approx(base)
    assert cka(x + np.arange(7), y, unbiased=unbiased) == pytest.approx(base)
    order = np.random.default_rng(0).permutation(10)
    assert cka(x[order], y[order], unbiased=unbiased) == pytest.approx(base)
    stretch = np.diag([1, 1, 1, 1, 1, 1, 20.0])
    assert abs(cka(x @ stretch, y, unbiased=unbiased) - base) > 0.02


def test_unrelated_wide_features_are_unlike_only_without_bias() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 32, 20_000))
    assert abs(cka(x, y)) < 0.05
    assert cka(x, y, unbiased=False) > 0.99


def test_negative_values_are_kept() -> None:
    assert cka(A, B) < 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_layer_that_puts_out_the_same_for_every_sample_has_no_cka(dtype) -> None:
    rng = np.random.default_rng(5)
    dead = np.repeat(rng.normal(size=(1, 50)), 7, axis=0).astype(dtype)
    alive = rng.normal(size=(7, 50)).astype(dtype)
    assert np.isnan(cka(dead, alive)) and np.isnan(cka(dead, dead))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 4 samples, not 3"):
        u_centred(A[:3])
    with pytest.raises(ValueError, match="a table"):
        u_centred(A[None])
    with pytest.raises(ValueError, match="one size"):
        MinibatchCKA().add([u_centred(A)], [u_centred(B[:5])])
    table = minibatch([([A], [B])])
    with pytest.raises(ValueError, match="2 x 1 layers after"):
        table.add([u_centred(A)] * 2, [u_centred(B)])


def test_consistency_is_the_agreement_of_profiles() -> None:
    assert consistency([[0.9, 0.5], [0.9, 0.5]]) == 1
    assert consistency([[1.0, 0.5], [0.8, 0.5], [0.8, 0.1]]) == pytest.approx(
        1 - (0.1 + 0.3 + 0.2) / 3
    )
    assert np.isnan(consistency([[0.9, 0.5]]))
