"""Areas under the ROC curve of two classifiers on the same test cases (DeLong et al. 1988)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def placements(true: NDArray[np.bool_], score: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return one value a case: their mean is the area, the variance of their mean DeLong's.

    A case's placement is the share of cases of the other class that it is ordered rightly against,
    ties half. Its distance from the area is weighted by its class's rarity, so that the sample
    variance of these values divided by their number is ``S10 / m + S01 / n`` (equation 6 of DeLong
    et al.), and that of the differences of two classifiers the variance of the areas' difference.

    Args:
        true: ``(N,)``, whether a case is of the class; both kinds twice at least.
        score: ``(N,)``, the greater the likelier.

    Raises:
        ValueError: A kind has fewer than two cases, which have no variance.
    """
    count, positives = len(true), int(true.sum())
    if min(positives, count - positives) < 2:
        raise ValueError("a variance of the area needs two cases of each kind")
    ours, theirs = score[true], score[~true]
    values = np.empty(count)
    values[true] = _share_below(theirs, ours)
    values[~true] = 1 - _share_below(ours, theirs)
    area = values[true].mean()
    for kind in (true, ~true):
        size = int(kind.sum())
        weight = np.sqrt(count * (count - 1) / (size * (size - 1)))
        values[kind] = area + weight * (values[kind] - area)
    return values


def _share_below(others: NDArray[np.floating], mine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of ``others`` below each of ``mine``, equal ones half."""
    ordered = np.sort(others)
    ends = [np.searchsorted(ordered, mine, side) for side in ("left", "right")]
    return np.asarray(sum(ends) / (2 * len(others)), dtype=np.float64)
