"""Two groups of different patients, such as CT and MRI of a multi-centre set: nothing is paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medssl_bench.analysis.statistics.crossed import variance_of_mean


@dataclass(frozen=True)
class IndependentTest:
    """Mean of the first group minus that of the second; two-sided."""

    mean: float
    low: float
    high: float
    p: float
    """Welch's t over cases, and over draws where both groups have several."""
    p_mann_whitney: float
    """Of case means: about these checkpoints."""
    n_first: int
    n_second: int
    reason: str = ""


def compare_groups(
    first: NDArray[np.float64], second: NDArray[np.float64], *, alpha: float = 0.05
) -> IndependentTest:
    """Compare two groups of different cases.

    The variance of each group's mean is over its draws and cases as in
    :func:`~medssl_bench.analysis.statistics.crossed.variance_of_mean`; they add up, with Welch's
    degrees of freedom. A difference of differences (method times modality) is compared so as well:
    give each group's paired differences.

    Args:
        first: ``(draws, cases)``, seeds averaged, complete.
        second: The same, of other cases; its draws may be of another number.
        alpha: Level.
    """
    means = float(first.mean() - second.mean())
    counts = (first.shape[1], second.shape[1])
    if min(counts) < 2:
        reason = "fewer than two cases in a group"
        return IndependentTest(means, np.nan, np.nan, np.nan, np.nan, *counts, reason)
    parts = [variance_of_mean(np.asarray(table, float)) for table in (first, second)]
    variance = sum(float(part) for part, _ in parts)
    if variance == 0:
        reason = "no spread in either group"
        return IndependentTest(means, np.nan, np.nan, np.nan, np.nan, *counts, reason)
    freedom = variance**2 / sum(float(part) ** 2 / float(own) for part, own in parts)
    reach = float(stats.t.ppf(1 - alpha / 2, freedom)) * np.sqrt(variance)
    return IndependentTest(
        mean=means,
        low=means - reach,
        high=means + reach,
        p=float(2 * stats.t.sf(abs(means) / np.sqrt(variance), freedom)),
        p_mann_whitney=float(stats.mannwhitneyu(first.mean(axis=0), second.mean(axis=0)).pvalue),
        n_first=counts[0],
        n_second=counts[1],
    )
