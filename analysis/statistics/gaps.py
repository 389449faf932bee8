"""The performance gap of paper 004 (section 5.4.2, Fig. 7) with an interval.

``gap = (acc - ref) / ref``, in percent, where ``ref`` is the best accuracy of any method on the
task. Of a distance, for which lower is better, a positive gap is worse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medssl_bench.analysis.statistics.bootstrap import resampled_together
from medssl_bench.analysis.statistics.crossed import Interval, paired_interval


def performance_gap(
    few: NDArray[np.float64], reference: NDArray[np.float64], *, level: float = 0.95
) -> Interval:
    """Return the gap in percent, with its interval over draws and cases.

    A ratio of means is linear in small changes (delta method), and its linear part has one value a
    (draw, case), so it gets the interval of paired differences. The reference's checkpoints are
    taken as given; its cases are not.

    Args:
        few: ``(draws, cases)``, seeds averaged.
        reference: ``(draws of its own, cases)``, the same cases.
        level: Coverage.

    Raises:
        ValueError: The reference's mean is not positive, or a table is not complete.
    """
    mean, best = float(few.mean()), float(reference.mean())
    if not best > 0:
        raise ValueError(f"a gap relative to a mean of {best:g} has no meaning")
    linear = 100 / best * (few - mean / best * reference.mean(axis=0))
    around = paired_interval(linear, level=level)
    gap = 100 * (mean / best - 1)
    return Interval(gap, gap + around.low, gap + around.high, level, around.n_draws, around.n_cases)


def resampled_gaps(
    few: NDArray[np.float64],
    full: NDArray[np.float64],
    *,
    higher_is_better: bool = True,
    resamples: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return every method's gap in percent in each resample, ``(resamples, methods)``.

    The best method is chosen anew in each resample, so its choice is part of the spread.

    Args:
        few: ``(methods, draws, seeds, cases)``.
        full: ``(methods of its own, draws, seeds, cases)``, from which the best is taken.
        higher_is_better: False for distances.
        resamples: How many.
        seed: Of the resampling.
    """
    ours, theirs = resampled_together([few, full], resamples, seed)
    best = theirs.max(axis=1) if higher_is_better else theirs.min(axis=1)
    return 100 * (ours / best[:, None] - 1)
