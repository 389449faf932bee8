"""Intervals that respect how results are nested: draws are few, and their test cases are shared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean difference with its bootstrap percentile interval, in the unit of the differences."""

    mean: float
    low: float
    high: float
    level: float
    n_draws: int
    n_cases: int


def paired_interval(
    difference: np.ndarray, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Bootstrap the mean of paired differences over draws and over test cases.

    The test cases of a task are the same in every draw, so draws and cases are crossed: each
    resample takes draws with replacement and, independently, cases with replacement (the pigeonhole
    bootstrap, Owen 2007). Pooling draws x cases as if all were independent gives intervals that
    are too narrow. Seeds are averaged before. With one draw only cases are resampled, and the
    interval then speaks of that draw alone.

    Args:
        difference: ``(draws, cases)``, method minus baseline, complete.
        level: Coverage of the interval.
        resamples: How many resamples are taken.
        seed: Seed of the resampling; the same data give the same interval.

    Raises:
        ValueError: The table is not two-dimensional, is empty or has missing values.
    """
    if difference.ndim != 2 or difference.size == 0 or not np.isfinite(difference).all():
        raise ValueError("differences must be a complete, finite (draws, cases) table")
    n_draws, n_cases = difference.shape
    mean = float(difference.mean())
    if n_cases < 2:
        return Interval(mean, np.nan, np.nan, level, n_draws, n_cases)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_draws, np.full(n_draws, 1 / n_draws), size=resamples) / n_draws
    cases = rng.multinomial(n_cases, np.full(n_cases, 1 / n_cases), size=resamples) / n_cases
    means = np.einsum("rd,dc,rc->r", draws, difference, cases, optimize=True)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), level, n_draws, n_cases)
