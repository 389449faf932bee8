"""What tests share: what they say where they have no number, and what counts as equal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALL_ZERO = "all differences are zero"
FEW_METHODS = "fewer than two methods to compare"
ONE_CASE = "fewer than two test cases"
ONE_CASE_DRAWN = "one test case has no spread"

NO_SPREAD = "all differences are equal, so there is no spread to judge by"

DECIMALS = 12
OF_DIFFERENCES = 10
"""Decimals of differences: two values that were rounded may put a true tie ``1e-12`` apart."""
LEAST_VARIANCE = 10.0 ** (-2 * DECIMALS)
"""Up to this the variance of a mean is that of sums in another order."""


@dataclass(frozen=True)
class Answer:
    """One comparison of many that were made together, in the unit of what was compared."""

    difference: float
    """First minus second: of means, or the median over cases."""
    low: float
    high: float
    p: float
    reason: str = ""
    """Why there is no p, where there is none."""


def settled(values: NDArray[np.float64], decimals: int = DECIMALS) -> NDArray[np.float64]:
    """Round to ``decimals``: sums in another order differ in their last digits.

    Ranks turn such a difference into a tie more or less, and so into another p. Differences of
    values that are rounded already are rounded to ``OF_DIFFERENCES``.
    """
    return np.round(values, decimals)
