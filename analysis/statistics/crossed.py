"""Statements about retraining: draws and test cases are crossed, and both are random.

Every draw is tested on the same cases, so neither draws nor cases nor their pairs are independent
rows. Seeds are averaged within a draw before (:func:`medssl_bench.analysis.statistics.panel`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from medssl_bench.analysis.statistics.answer import (
    ALL_ZERO,
    LEAST_VARIANCE,
    NO_SPREAD,
    OF_DIFFERENCES,
    ONE_CASE_DRAWN,
    Answer,
    settled,
)

LIMIT = 2 / 3
"""Confidence of the upper limit that stands for the draws' mean square in the degrees of freedom.

Satterthwaite puts the estimate itself, which with few draws is often small by luck: then the
interval is short and its quantile too, and of tests at 5 % with 3 draws up to 7.3 % are false
(draw and seed SD 0.02, case SD 0.03). With this limit it is at most 5.7 % with 3 draws and 7.0 %
with 2; see :mod:`medssl_bench.analysis.simulation`.
"""


@dataclass(frozen=True)
class Interval:
    """A mean difference with its t interval, in the unit of the differences."""

    mean: float
    low: float
    high: float
    level: float
    n_draws: int
    n_cases: int


@dataclass(frozen=True)
class RetrainingTest:
    """Would the mean difference be zero over all draws, seeds and cases? Two-sided t test."""

    mean: float
    low: float
    high: float
    p: float
    freedom: float
    standard_error: float
    detectable: float
    """Least true mean difference found with probability 0.8 at the test's level."""
    n_draws: int
    n_cases: int
    reason: str = ""
    """Why there is no p, where there is none."""


def paired_interval(difference: np.ndarray, *, level: float = 0.95) -> Interval:
    """Return the mean of paired differences with its interval over draws and over test cases.

    From the mean squares between draws, between cases and of the rest, the variance of the mean is
    ``(MS_draws + MS_cases - MS_rest) / (draws cases)``, with Satterthwaite's degrees of freedom
    (Satterthwaite 1946; Montgomery, Design and Analysis of Experiments, section 13.2) at the upper
    ``LIMIT`` of the draws' mean square; where chance makes that less than the part of draws or of
    cases alone, that part counts. With one draw the interval is that of its cases and speaks of
    that draw alone.

    Args:
        difference: ``(draws, cases)``, method minus baseline, complete.
        level: Coverage of the interval.

    Raises:
        ValueError: The table is not two-dimensional, is empty or has missing values.
    """
    return paired_intervals(_checked(difference)[None], level=level)[0]


def paired_intervals(differences: np.ndarray, *, level: float = 0.95) -> list[Interval]:
    """Return :func:`paired_interval` of each table of ``(tables, draws, cases)``."""
    tables = np.asarray(differences, float)
    n_draws, n_cases = tables.shape[1:]
    means = tables.mean(axis=(1, 2))
    reach = np.full(len(tables), np.nan)
    if n_cases > 1:
        variance, freedom = variance_of_mean(tables)
        reach = special.stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)
    return [
        Interval(mean, mean - half, mean + half, level, n_draws, n_cases)
        for mean, half in zip(means.tolist(), reach.tolist(), strict=True)
    ]


def retraining_test(difference: np.ndarray, *, alpha: float = 0.05) -> RetrainingTest:
    """Test whether the mean difference is zero over retraining and over test cases.

    The interval is that of :func:`paired_interval`, and excludes zero where ``p < alpha``.

    Args:
        difference: ``(draws, cases)``, one method minus another, complete, seeds averaged.
        alpha: Level of the test; the interval covers ``1 - alpha``.

    Raises:
        ValueError: The table is not two-dimensional, is empty or has missing values.
    """
    table = settled(_checked(difference), OF_DIFFERENCES)
    n_draws, n_cases = table.shape
    interval = paired_interval(table, level=1 - alpha)
    reason = ""
    if n_draws < 2:
        reason = "one draw says nothing about retraining; run more with --draws"
    elif n_cases < 2:
        reason = ONE_CASE_DRAWN
    elif not table.any():
        reason = ALL_ZERO
    elif float(variance_of_mean(table)[0]) <= LEAST_VARIANCE:
        reason = NO_SPREAD
    if reason:
        known = n_draws > 1 and reason != NO_SPREAD
        limits = (interval.low, interval.high) if known else (np.nan, np.nan)
        return RetrainingTest(
            interval.mean, *limits, np.nan, np.nan, np.nan, np.nan, n_draws, n_cases, reason
        )
    variance, freedom = variance_of_mean(table)
    error = float(np.sqrt(variance))
    return RetrainingTest(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        p=float(p_values(table)),
        freedom=float(freedom),
        standard_error=error,
        detectable=detectable_difference(error, float(freedom), alpha),
        n_draws=n_draws,
        n_cases=n_cases,
    )


def compare_drawn(differences: np.ndarray, *, alpha: float = 0.05) -> list[Answer]:
    """Test each table of ``(tables, draws, cases)`` as :func:`retraining_test` does, together.

    With one draw the cases alone are random, as in :func:`paired_interval`.
    """
    tables = settled(np.asarray(differences, float), OF_DIFFERENCES)
    intervals = paired_intervals(tables, level=1 - alpha)
    if tables.shape[2] < 2:
        return [Answer(x.mean, x.low, x.high, np.nan, ONE_CASE_DRAWN) for x in intervals]
    found = []
    for one, p, moved in zip(
        intervals, p_values(tables).tolist(), (tables != 0).any(axis=(1, 2)), strict=True
    ):
        if not moved:
            found.append(Answer(one.mean, one.low, one.high, np.nan, ALL_ZERO))
        elif np.isnan(p):
            found.append(Answer(one.mean, np.nan, np.nan, np.nan, NO_SPREAD))
        else:
            found.append(Answer(one.mean, one.low, one.high, p))
    return found


def p_values(differences: np.ndarray) -> np.ndarray:
    """Return the two-sided p of each mean of ``(..., draws, cases)``; NaN where all are equal."""
    tables = settled(np.asarray(differences, float), OF_DIFFERENCES)
    variance, freedom = variance_of_mean(tables)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(tables.mean(axis=(-2, -1))) / np.sqrt(variance)
    return np.where(variance > LEAST_VARIANCE, 2 * stats.t.sf(t, freedom), np.nan)


def variance_of_mean(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance of the mean of ``(..., draws, cases)`` and its degrees of freedom."""
    draws, cases = table.shape[-2:]
    mean = table.mean(axis=(-2, -1), keepdims=True)
    of_draws = table.mean(axis=-1, keepdims=True) - mean
    of_cases = table.mean(axis=-2, keepdims=True) - mean
    freedom_cases = cases - 1
    between_cases = draws * (of_cases**2).sum(axis=(-2, -1)) / freedom_cases
    if draws == 1:
        return between_cases / cases, np.full(between_cases.shape, float(freedom_cases))
    freedom_draws, freedom_rest = draws - 1, (draws - 1) * freedom_cases
    between_draws = cases * (of_draws**2).sum(axis=(-2, -1)) / freedom_draws
    rest = table - mean - of_draws - of_cases
    within = (rest**2).sum(axis=(-2, -1)) / freedom_rest

    largest = np.maximum(between_draws, between_cases)
    variance = np.maximum(between_draws + between_cases - within, largest) / (draws * cases)
    limit = between_draws * freedom_draws / stats.chi2.ppf(1 - LIMIT, freedom_draws)
    square = limit + between_cases - within
    parts = limit**2 / freedom_draws + between_cases**2 / freedom_cases + within**2 / freedom_rest
    with np.errstate(invalid="ignore", divide="ignore"):
        summed = square**2 / parts
    alone = np.where(limit > between_cases, freedom_draws, freedom_cases)
    return variance, np.where(square > np.maximum(limit, between_cases), summed, alone)


def detectable_difference(
    standard_error: float, freedom: float, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the least true mean difference that a two-sided t test finds with this power.

    Solved on the noncentral t distribution, in the unit of ``standard_error``. NaN where there is
    no spread to judge by.
    """
    if not (np.isfinite(standard_error) and standard_error > 0 and freedom > 0):
        return float("nan")
    critical = float(stats.t.ppf(1 - alpha / 2, freedom))

    def missing(shift: float) -> float:
        # The other tail is below 1e-6 wherever the power is near what is asked for.
        return float(stats.nct.sf(critical, freedom, shift)) - power

    return float(optimize.brentq(missing, 0.0, 2 * critical + 5.0)) * standard_error


def _checked(difference: np.ndarray) -> np.ndarray:
    table = np.asarray(difference, float)
    if table.ndim != 2 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError("differences must be a complete, finite (draws, cases) table")
    return table
