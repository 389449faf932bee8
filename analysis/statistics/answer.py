"""What tests share: what they say where they have no number, and what counts as equal."""

import numpy as np
from numpy.typing import NDArray

ALL_ZERO = "all differences are zero"
FEW_METHODS = "fewer than two methods to compare"
ONE_CASE = "fewer than two test cases"

DECIMALS = 12


def settled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to ``DECIMALS``: sums in another order differ in their last digits.

    Ranks turn such a difference into a tie more or less, and so into another p.
    """
    return np.round(values, DECIMALS)
