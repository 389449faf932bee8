"""Beyond means: interquartile mean, performance profiles, probability of improvement.

Agarwal, Schwarzer, Castro, Courville, Bellemare, NeurIPS 2021 (rliable), with test cases where that
work has runs: one score a (draw, case), seeds averaged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medssl_bench.analysis.statistics.bootstrap import percentile_interval, resampled_scores
from medssl_bench.analysis.statistics.crossed import Interval, paired_interval


def interquartile_mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the middle half along the last axis: a quarter is cut from each end."""
    result: NDArray[np.float64] = stats.trim_mean(scores, 0.25, axis=-1)
    return result


def interquartile_interval(
    values: NDArray[np.float64], *, level: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bootstrap limits of the interquartile mean of each method of ``(methods, D, C)``."""
    sample = np.stack(
        [interquartile_mean(scores) for scores in resampled_scores(values, resamples, seed)]
    )
    return percentile_interval(sample, level)


def performance_profile(
    scores: NDArray[np.float64], thresholds: NDArray[np.float64], *, higher_is_better: bool = True
) -> NDArray[np.float64]:
    """Return the share of scores at least as good as each threshold.

    Args:
        scores: ``(methods, scores)``.
        thresholds: ``(thresholds,)``.
        higher_is_better: False for distances: at most the threshold.

    Returns:
        ``(methods, thresholds)``.
    """
    ordered = np.sort(scores if higher_is_better else -scores, axis=1)
    wanted = thresholds if higher_is_better else -thresholds
    below = np.stack([np.searchsorted(row, wanted, side="left") for row in ordered])
    shares: NDArray[np.float64] = 1 - below / scores.shape[1]
    return shares


def profile_band(
    values: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    *,
    higher_is_better: bool = True,
    level: float = 0.95,
    resamples: int = 1_000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return pointwise bootstrap limits of the profiles of ``(methods, draws, cases)``."""
    sample = np.stack(
        [
            performance_profile(scores, thresholds, higher_is_better=higher_is_better)
            for scores in resampled_scores(values, resamples, seed)
        ]
    )
    return percentile_interval(sample, level)


def probability_of_improvement(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    higher_is_better: bool = True,
    level: float = 0.95,
) -> Interval:
    """Return how often the first is better on the same case of the same draw; a tie is a half.

    The interval is that of a mean over crossed draws and cases, cut to [0, 1].

    Args:
        first: ``(draws, cases)``.
        second: The same.
        higher_is_better: False for distances.
        level: Coverage.
    """
    sign = np.sign(first - second) * (1 if higher_is_better else -1)
    found = paired_interval((sign + 1) / 2, level=level)
    low, high = np.clip([found.low, found.high], 0, 1)
    return Interval(found.mean, float(low), float(high), level, found.n_draws, found.n_cases)
