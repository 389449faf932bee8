"""Many checkpoints on the same cases by ranks: Friedman's test and critical differences.

Demsar, JMLR 2006; Benavoli, Corani, Mangili, JMLR 2016, on grouping by pairwise tests instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medssl_bench.analysis.statistics.answer import FEW_METHODS, ONE_CASE
from medssl_bench.analysis.statistics.ranks import ranks_of


@dataclass(frozen=True)
class MeanRanks:
    """Mean ranks over cases, 1 is best, and what they are worth."""

    mean_rank: NDArray[np.float64]
    statistic: float
    p: float
    """Friedman's, chi-squared with methods - 1 degrees of freedom, corrected for ties."""
    critical_difference: float
    """Nemenyi: mean ranks closer than this are not told apart."""
    reason: str = ""


def mean_ranks(scores: NDArray[np.float64], *, alpha: float = 0.05) -> MeanRanks:
    """Rank methods within each case and compare their mean ranks.

    Args:
        scores: ``(methods, cases)``, higher is better, one independent row a case.
        alpha: Level of the critical difference.
    """
    methods, cases = scores.shape
    ranks = ranks_of(scores.T)
    mean = ranks.mean(axis=0)
    if methods < 3 or cases < 2:
        reason = (
            ("Friedman's test needs three methods" if methods == 2 else FEW_METHODS)
            if methods < 3
            else ONE_CASE
        )
        return MeanRanks(mean, np.nan, np.nan, np.nan, reason)
    if not np.ptp(ranks):
        return MeanRanks(mean, np.nan, np.nan, np.nan, "all methods tie on every case")
    found = stats.friedmanchisquare(*scores)
    quantile = stats.studentized_range.ppf(1 - alpha, methods, np.inf) / np.sqrt(2)
    return MeanRanks(
        mean_rank=mean,
        statistic=float(found.statistic),
        p=float(found.pvalue),
        critical_difference=float(quantile * np.sqrt(methods * (methods + 1) / (6 * cases))),
    )


def alike_groups(mean_rank: NDArray[np.float64], alike: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """Return the longest runs of methods, by mean rank, in which every pair is alike.

    Args:
        mean_rank: ``(methods,)``.
        alike: ``(methods, methods)``, True where two methods are not told apart.

    Returns:
        Places of the methods of each group, best first; no group lies in another, none has one.
    """
    order = [int(one) for one in np.argsort(mean_rank, kind="stable")]
    groups: list[tuple[int, ...]] = []
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and alike[order[stop], order[start:stop]].all():
            stop += 1
        group = tuple(order[start:stop])
        if len(group) > 1 and not any(set(group) <= set(known) for known in groups):
            groups.append(group)
    return groups
