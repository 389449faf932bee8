"""What tests share: what they say where they have no number, and what counts as equal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALL_ZERO = "all differences are zero"
FEW_METHODS = "fewer than two methods to compare"
ONE_CASE = "fewer than two test cases"
ONE_CASE_DRAWN = "one test case has no spread"

DECIMALS = 12


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


def settled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to ``DECIMALS``: sums in another order differ in their last digits.

    Ranks turn such a difference into a tie more or less, and so into another p.
    """
    return np.round(values, DECIMALS)
