"""How similar two networks' features are: linear centred kernel alignment (CKA) over minibatches.

Paper 004 (section 4.3.1) compares a pretrained with its fine-tuned encoder: HSIC is estimated
without bias (Song et al. 2012, equation 5) on groups of samples, averaged over the groups, and only
then divided (Nguyen et al. 2021, section 2). The ratio of means differs from the mean of ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import get_blas_funcs

LEAST = 4
"""Samples below which unbiased HSIC does not exist."""

CHUNK = 2048 + 16
"""Values of each sample that are centred and multiplied at once, so that they stay in cache.

Rows a power of two apart would take each other's place in it.
"""

ALIGNMENT = 64
"""Bytes of a cache line; BLAS is up to twice as slow on rows that straddle two."""

Matrix = NDArray[np.float64]


def u_centred(features: ArrayLike) -> Matrix:
    """Return the U-centred Gram matrix ``(n, n)`` of features ``(n, d)``, in float64.

    The diagonal is zero and every row sums to zero, so that the unbiased HSIC of two such matrices
    is one scalar product (Szekely and Rizzo 2014, equation 2.4).

    Raises:
        ValueError: Not a table of at least ``LEAST`` samples.
    """
    return u_centre(centred_gram(features))


def u_centre(gram: Matrix) -> Matrix:
    """U-centre a Gram matrix ``(n, n)`` in place and return it; its diagonal does not matter."""
    n = len(gram)
    if n < LEAST:
        raise ValueError(f"unbiased HSIC needs at least {LEAST} samples, not {n}")
    np.fill_diagonal(gram, 0.0)
    rows = gram.sum(axis=1) / (n - 2)
    gram -= rows[:, None]
    gram -= rows[None, :]
    gram += rows.sum() / (n - 1)
    np.fill_diagonal(gram, 0.0)
    return gram


def centred_gram(features: ArrayLike) -> Matrix:
    """Return the Gram matrix ``(n, n)`` of features ``(n, d)`` less their mean, in float64.

    Without the mean, for a common offset would eat the digits of float32. Products are taken in the
    features' precision, chunk by chunk, and summed in float64. Exactly zero where samples are all
    alike.
    """
    table = np.asarray(features)
    if table.ndim != 2:
        raise ValueError(f"features are a table (samples, values), not {table.shape}")
    if table.dtype != np.float32:
        table = table.astype(np.float64, copy=False)
    n = len(table)
    share = np.full((1, n), 1 / max(n, 1), table.dtype)
    # NumPy takes the product with one's own transpose for a ``syrk``, which is slower when small.
    gemm = get_blas_funcs("gemm", dtype=table.dtype)
    buffer = _aligned(n * CHUNK, table.dtype)
    gram, offset = np.zeros((n, n)), 0.0
    for start in range(0, table.shape[1], CHUNK):
        part = table[:, start : start + CHUNK]
        mean = share @ part
        centred = np.subtract(part, mean, out=buffer[: part.size].reshape(part.shape))
        gram += gemm(1.0, centred.T, centred.T, trans_a=True)
        offset += float(np.vdot(mean, mean))
    # What is left of samples that are all alike is the rounding of their mean.
    rounding = (4 * np.finfo(table.dtype).eps) ** 2 * n * offset
    return (gram + gram.T) / 2 if np.trace(gram) > rounding else np.zeros((n, n))


def _aligned(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return so many values, not set, that start with a cache line."""
    spare = ALIGNMENT // dtype.itemsize
    values = np.empty(size + spare, dtype)
    start = -values.ctypes.data % ALIGNMENT // dtype.itemsize
    return values[start : start + size]


def hsic(first: Matrix, second: Matrix) -> float:
    """Return the unbiased HSIC of two U-centred Gram matrices; it may be negative."""
    n = len(first)
    return float(np.vdot(first, second)) / (n * (n - 3))


def cka(first: ArrayLike, second: ArrayLike, *, unbiased: bool = True) -> float:
    """Return the CKA of two feature tables ``(n, d)`` and ``(n, e)`` of the same samples.

    NaN where one of them is the same for all samples. The biased estimate, which many public
    scripts use, approaches 1 for unrelated features as soon as they outnumber the samples.
    """
    if unbiased:
        table = MinibatchCKA()
        table.add([u_centred(first)], [u_centred(second)])
        return float(table.matrix[0, 0])
    grams = [centred_gram(features) for features in (first, second)]  # of centred features: centred
    products = [float(np.vdot(a, b)) for a, b in (grams, grams[:1] * 2, grams[1:] * 2)]
    return _ratio(np.array(products[0]), np.array(products[1]), np.array(products[2])).item()


class MinibatchCKA:
    """CKA of every layer of one network with every layer of another, added group by group.

    What is kept is three sums for each pair of layers, whatever the number of groups.
    """

    def __init__(self) -> None:
        """Start without any group."""
        self.groups = 0
        self._joint: Matrix = np.zeros((0, 0))
        self._first: Matrix = np.zeros(0)
        self._second: Matrix = np.zeros(0)

    def add(self, first: Sequence[Matrix], second: Sequence[Matrix]) -> None:
        """Add one group of samples.

        Args:
            first: U-centred Gram matrix ``(n, n)`` of each layer of the first network.
            second: The same of the second network, of the same samples.

        Raises:
            ValueError: Groups of different sizes, or another number of layers than before.
        """
        sizes = {one.shape for one in (*first, *second)}
        if len(sizes) != 1:
            raise ValueError(f"matrices of one group have one size, not {sorted(sizes)}")
        n = len(first[0])
        count = n * (n - 3)
        a = np.stack([one.ravel() for one in first])
        b = np.stack([one.ravel() for one in second])
        if self.groups and self._joint.shape != (len(a), len(b)):
            raise ValueError(f"{len(a)} x {len(b)} layers after {self._joint.shape}")
        sums = (a @ b.T / count, _norms(a) / count, _norms(b) / count)
        if not self.groups:
            self._joint, self._first, self._second = sums
        else:
            self._joint += sums[0]
            self._first += sums[1]
            self._second += sums[2]
        self.groups += 1

    @property
    def matrix(self) -> Matrix:
        """CKA ``(layers of the first, layers of the second)``.

        Negative values are chance around zero and are kept; NaN where a layer says nothing.
        """
        return _ratio(self._joint, self._first[:, None], self._second[None, :])

    @property
    def diagonal(self) -> Matrix:
        """CKA of each layer with itself in the other network, ``(layers,)``."""
        return np.diagonal(self.matrix).copy()


def consistency(profiles: ArrayLike) -> float:
    """Return how alike the reuse of features is under several conditions, such as shots.

    One minus the mean absolute difference of CKA over layers and pairs of conditions: 1 where every
    layer is reused alike. NaN for fewer than two conditions.

    Args:
        profiles: ``(conditions, layers)``, CKA of each layer with itself before fine-tuning.
    """
    table = np.asarray(profiles, float)
    pairs = list(combinations(range(len(table)), 2))
    if not pairs:
        return float("nan")
    return 1.0 - float(np.mean([np.abs(table[a] - table[b]).mean() for a, b in pairs]))


def _norms(rows: Matrix) -> Matrix:
    norms: Matrix = np.einsum("ij,ij->i", rows, rows)
    return norms


def _ratio(joint: Matrix, first: Matrix, second: Matrix) -> Matrix:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Matrix = joint / np.sqrt(first * second)
    return ratio
