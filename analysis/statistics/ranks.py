"""Ranks with their uncertainty: a rank is known only as far as the pairs behind it are told apart.

A method's interval runs from 1 + the number of methods shown better to the number of methods not
shown worse (Al Mohamad, van Zwet, Solari, Goeman 2021; Mogstad, Romano, Shaikh, Wilhelm 2024). With
pairwise p-values adjusted by Holm all intervals of a table hold the true ranks together with the
tests' confidence, ties included; percentiles of bootstrapped ranks hold one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Ranks of methods, 1 is best; arrays are ``(methods,)``."""

    rank: NDArray[np.float64]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    tier: NDArray[np.intp]


def rank_methods(
    means: NDArray[np.float64], p: Matrix, *, alpha: float = 0.05, higher_is_better: bool = True
) -> Ranking:
    """Rank methods by their means, with intervals and tiers from adjusted pairwise tests.

    Args:
        means: ``(methods,)``.
        p: ``(methods, methods)`` symmetric, adjusted; NaN where two cannot be told apart.
        alpha: Level of the tests.
        higher_is_better: False for distances.
    """
    scores = means if higher_is_better else -means
    told = np.nan_to_num(p, nan=1.0) < alpha
    worse = told & (scores[:, None] < scores[None, :])
    better = told & (scores[:, None] > scores[None, :])
    return Ranking(
        rank=ranks_of(scores[None])[0],
        low=1 + worse.sum(axis=1),
        high=len(scores) - better.sum(axis=1),
        tier=_tiers(scores, worse),
    )


def _tiers(scores: NDArray[np.float64], worse: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Open a tier at the best method, and a new one at each that is worse than its tier's first."""
    tiers = np.zeros(len(scores), np.intp)
    leader, tier = -1, 0
    for method in np.argsort(-scores, kind="stable"):
        if leader < 0 or worse[method, leader]:
            leader, tier = int(method), tier + 1
        tiers[method] = tier
    return tiers


def ranks_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks along the last axis, 1 for the highest; ties share the mean of their ranks."""
    ranks = np.empty(scores.shape)
    for method in range(scores.shape[-1]):
        own = scores[..., method, None]
        ranks[..., method] = 0.5 + (scores > own).sum(axis=-1) + 0.5 * (scores == own).sum(axis=-1)
    return ranks


def kendall_tau(first: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Kendall's tau-b of one ranking ``(methods,)`` with each of ``(rows, methods)``.

    NaN where one of the two has nothing but ties.
    """
    upper = np.triu_indices(first.shape[-1], 1)
    own = np.sign(first[upper[0]] - first[upper[1]])
    theirs = np.sign(others[:, upper[0]] - others[:, upper[1]])
    with np.errstate(invalid="ignore", divide="ignore"):
        both = np.sqrt(np.abs(own).sum() * np.abs(theirs).sum(axis=1))
        tau: NDArray[np.float64] = theirs @ own / both
    return tau


def square(pairs: list[tuple[int, int]], values: NDArray[np.float64], size: int) -> Matrix:
    """Return values of pairs as a symmetric matrix with NaN on its diagonal."""
    matrix = np.full((size, size), np.nan)
    for (first, second), value in zip(pairs, values, strict=True):
        matrix[first, second] = matrix[second, first] = value
    return matrix
