"""Two groups of different patients, such as CT and MRI of a multi-centre set: nothing is paired."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from medssl_bench.analysis.statistics.answer import LEAST_VARIANCE, Answer
from medssl_bench.analysis.statistics.crossed import variance_of_mean


def compare_groups(
    first: NDArray[np.float64], second: NDArray[np.float64], *, alpha: float = 0.05
) -> list[Answer]:
    """Compare two groups of different cases, table by table; two-sided.

    The variance of each group's mean is over its draws and cases as in
    :func:`~medssl_bench.analysis.statistics.crossed.variance_of_mean`; they add up, with Welch's
    degrees of freedom. A difference of differences (method times modality) is compared so as well:
    give each group's paired differences.

    Args:
        first: ``(tables, draws, cases)``, seeds averaged, complete.
        second: As many tables, of other cases; its draws may be of another number.
        alpha: Level.
    """
    differences = first.mean(axis=(1, 2)) - second.mean(axis=(1, 2))
    if min(first.shape[2], second.shape[2]) < 2:
        reason = "fewer than two cases in a group"
        return [Answer(mean, np.nan, np.nan, np.nan, reason) for mean in differences.tolist()]
    parts = [variance_of_mean(np.asarray(tables, float)) for tables in (first, second)]
    variance = parts[0][0] + parts[1][0]
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / sum(part**2 / own for part, own in parts)
        p = 2 * stats.t.sf(np.abs(differences) / np.sqrt(variance), freedom)
        reach = special.stdtrit(freedom, 1 - alpha / 2) * np.sqrt(variance)
    return [
        Answer(mean, mean - half, mean + half, value)
        if spread > LEAST_VARIANCE
        else Answer(mean, np.nan, np.nan, np.nan, "no spread in either group")
        for mean, half, value, spread in zip(
            *(one.tolist() for one in (differences, reach, p, variance)), strict=True
        )
    ]
