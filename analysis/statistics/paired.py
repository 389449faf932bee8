"""Statements about two given checkpoints: their scores on the same test cases, case by case.

One difference a case: organs and seeds are averaged before. A small p says that these weights
differ over the population of cases, not that training again would give the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medssl_bench.analysis.statistics.answer import (
    ALL_ZERO,
    OF_DIFFERENCES,
    ONE_CASE,
    Answer,
    settled,
)
from medssl_bench.analysis.statistics.crossed import detectable_difference

CLAIM = "about these checkpoints, over test cases; not about training again"
EXACT_FLIPS = 16
"""Up to so many nonzero differences all their signs are tried (65,536); beyond, a sample is."""
FLIPS = 19_999


@dataclass(frozen=True)
class PairedTest:
    """Two-sided comparison of two checkpoints; differences are first minus second."""

    n: int
    n_zero: int
    """Cases on which both score the same."""
    n_ties: int
    """Nonzero differences whose size occurs more than once."""
    mean: float
    median: float
    median_low: float
    median_high: float
    rank_biserial: float
    """(sum of positive ranks - sum of negative ranks) / sum, from -1 to 1 (Kerby 2014)."""
    rank_biserial_low: float
    rank_biserial_high: float
    p: float
    """Wilcoxon signed rank (zeros by Pratt 1959): exact without zeros and ties up to 50 cases."""
    p_flip: float
    """Sign-flip permutation of the mean, exact up to ``EXACT_FLIPS`` nonzero differences."""
    least_p: float
    """No smaller p can be had from so few nonzero differences: 2 / 2^n."""
    detectable: float
    """Least true mean difference that a paired t test of these cases finds with probability 0.8."""
    reason: str = ""
    """Why there is no p, where there is none."""


def compare_cases(
    difference: NDArray[np.float64], *, alpha: float = 0.05, resamples: int = 2000, seed: int = 0
) -> PairedTest:
    """Compare two checkpoints on the cases both were tested on.

    Args:
        difference: ``(cases,)``, one value a case.
        alpha: Level; intervals cover ``1 - alpha``.
        resamples: Bootstrap resamples of cases for the interval of the rank-biserial.
        seed: Of the resamples, and of the sign flips where there are too many to try all.

    Raises:
        ValueError: Not one-dimensional, empty, or not finite. An infinite distance has no rank:
            replace a miss by its penalty first.
    """
    values = np.asarray(difference, float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError("differences must be finite, one a case: average organs and seeds first")
    values = settled(values, OF_DIFFERENCES)
    n, moved = len(values), values[values != 0]
    sizes = np.unique(np.abs(moved), return_counts=True)[1]
    reason = ONE_CASE if n < 2 else ALL_ZERO if not len(moved) else ""
    random = np.random.default_rng(seed)
    low, high = median_interval(values, 1 - alpha)
    biserial = float(rank_biserial(values[None])[0])
    drawn = values[random.integers(0, n, (resamples, n))]
    around = [np.nan, np.nan]
    if not reason:
        around = np.nanquantile(rank_biserial(drawn), [alpha / 2, 1 - alpha / 2]).tolist()
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return PairedTest(
        n=n,
        n_zero=n - len(moved),
        n_ties=int(sizes[sizes > 1].sum()),
        mean=float(values.mean()),
        median=float(np.median(values)),
        median_low=low,
        median_high=high,
        rank_biserial=biserial,
        rank_biserial_low=around[0],
        rank_biserial_high=around[1],
        p=np.nan if reason else float(wilcoxon(values)),
        p_flip=np.nan if reason else flip_signs(values, seed=seed),
        least_p=min(1.0, 2.0 ** (1 - len(moved))) if not reason else np.nan,
        detectable=detectable_difference(error, n - 1, alpha),
        reason=reason,
    )


def compare_checkpoints(differences: NDArray[np.float64], *, alpha: float = 0.05) -> list[Answer]:
    """Test each row of ``(rows, cases)`` as :func:`compare_cases` does, together.

    Returns the median over cases, its distribution-free interval, and Wilcoxon's p.
    """
    rows = settled(np.asarray(differences, float), OF_DIFFERENCES)
    moved = (rows != 0).any(axis=1)
    p = np.full(len(rows), np.nan)
    if one_case := rows.shape[1] < 2:
        reasons = [ONE_CASE] * len(rows)
    else:
        reasons = ["" if any_difference else ALL_ZERO for any_difference in moved]
    if moved.any() and not one_case:
        p[moved] = wilcoxon(rows[moved])
    found = zip(rows, p.tolist(), reasons, strict=True)
    return [
        Answer(float(np.median(row)), *median_interval(row, 1 - alpha), value, reason)
        for row, value, reason in found
    ]


def wilcoxon(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided Wilcoxon signed rank p along the last axis, ``(..., cases)``.

    Zeros keep their ranks and have no sign (Pratt 1959). Each p is that of its row alone: SciPy
    leaves the exact distribution for all rows where one has a zero or a tie.
    """
    rows = values.reshape(-1, values.shape[-1])
    ordered = np.sort(np.abs(rows), axis=1)
    plain = (ordered[:, 0] > 0) & (np.diff(ordered, axis=1) > 0).all(axis=1)
    p = np.empty(len(rows))
    if plain.any():
        p[plain] = stats.wilcoxon(rows[plain], axis=-1).pvalue
    for row in np.flatnonzero(~plain):
        p[row] = stats.wilcoxon(rows[row], zero_method="pratt").pvalue
    return p.reshape(values.shape[:-1])


def rank_biserial(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matched-pairs rank-biserial of each row of ``(rows, cases)``; NaN if all zero."""
    ranks = stats.rankdata(np.abs(values), axis=1) * (values != 0)
    with np.errstate(invalid="ignore"):
        return cast(NDArray[np.float64], (ranks * np.sign(values)).sum(axis=1) / ranks.sum(axis=1))


def flip_signs(values: NDArray[np.float64], *, seed: int = 0) -> float:
    """Two-sided p of the mean if each difference's sign were a coin's.

    Exact while at most ``EXACT_FLIPS`` differences are nonzero (a zero's sign changes nothing);
    beyond, from ``FLIPS`` random signings with the observed one among them, so never 0.
    """
    moved = values[values != 0]
    exact = len(moved) <= EXACT_FLIPS
    if exact:
        bits = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (FLIPS, len(moved)))
    sums = np.abs((2 * bits - 1) @ moved)
    observed = abs(moved.sum())
    # Sums in another order differ in their last digits; what is equal must count as equal.
    reached = int((sums >= observed * (1 - 1e-12)).sum())
    return reached / len(sums) if exact else (reached + 1) / (len(sums) + 1)


def median_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Distribution-free interval of the median from order statistics (NaN where n is too small)."""
    ordered = np.sort(values)
    low, high = (
        float(ordered[place]) if place is not None else np.nan
        for place in _median_places(len(values), level)
    )
    return low, high


@lru_cache(maxsize=1024)
def _median_places(n: int, level: float) -> tuple[int | None, int | None]:
    """Return which of ``n`` ordered values bound the median; None where n is too small."""
    found = stats.quantile_test(np.arange(n), q=(n - 1) / 2, p=0.5).confidence_interval(level)
    low, high = (int(end) if np.isfinite(end) else None for end in (found.low, found.high))
    return low, high
