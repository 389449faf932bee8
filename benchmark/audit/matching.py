"""Finding the same scan in two sets of fingerprints, fast where the sets are large.

A corpus streams past an index of the test cases, in memory that does not grow with it. That
landmarks look alike (:mod:`~medssl_bench.audit.candidates`) is not enough: those of one scan agree
besides on how the two arrays lie to each other. Counted are those that agree on one turn and one
shift. Where few agree, the voxels themselves decide (:func:`correlation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medssl_bench.audit.candidates import AGREE_VOXELS, FEW, TURNS, Candidates, numbers_of
from medssl_bench.audit.fingerprint import GRIDS_MM, Fingerprint, Look, grids_of, joined
from medssl_bench.data.volume import Volume

CERTAIN = 20
"""Landmarks that agree from which on two volumes show the same, whatever their contrast."""
MANY, SHARE = 8, 0.25
"""Worth comparing voxels: ``MANY`` agree, or ``FEW`` and this share of the landmarks alike."""
CORRELATED = 0.7
"""Correlation of the voxels from which on two volumes in which few landmarks agree are one scan."""
LEAST_VOXELS = 500
"""Voxels of the overlap below which a correlation says nothing."""
CELLS = 2**20
"""More than any volume has along an axis."""
BLOCK = 16
"""Volumes of the corpus looked up at a time."""


@dataclass(frozen=True)
class Match:
    """Two volumes that show the same."""

    test: int
    """Place of the test volume among those of the index."""
    other: int
    """Place of the volume compared with them."""
    landmarks: int
    """How many agree, in different places."""
    of: int
    """How many places the volume with fewer has."""
    turn: NDArray[np.int64]
    """``(3, 3)`` signed permutation from the other's axes to the test volume's."""
    shift: NDArray[np.float64]
    """mm, added to what was turned."""

    @property
    def certain(self) -> bool:
        """Whether the landmarks alone decide."""
        return self.landmarks >= CERTAIN


class Index:
    """Fingerprints of test volumes, to compare others with."""

    def __init__(self, tests: Sequence[Fingerprint]) -> None:
        """Hash every landmark of the test volumes."""
        self.all = joined(tests)
        self.spots = [_apart(test, np.arange(len(test))) for test in tests]
        self.candidates = Candidates(self.all, _owners(tests))

    def matches(self, others: Iterable[Fingerprint]) -> Iterator[Match]:
        """Yield every pair of a test volume and another that may show the same."""
        start = 0
        others = iter(others)
        while block := [*islice(others, BLOCK)]:
            yield from self._compare(block, start)
            start += len(block)

    def _compare(self, block: Sequence[Fingerprint], start: int) -> Iterator[Match]:
        others, owner = joined(block), _owners(block)
        ours, theirs = self.candidates.alike(others, owner)
        pair = owner[theirs] * len(self.spots) + self.candidates.owner[ours]
        order = np.argsort(pair, kind="stable")
        ours, theirs, pair = ours[order], theirs[order], pair[order]
        pairs, begins, sizes = np.unique(pair, return_index=True, return_counts=True)
        for number, begin, size in zip(pairs, begins, sizes, strict=True):
            if size < FEW:
                continue
            here = slice(begin, begin + size)
            agreed, turn, shift = _agreeing(self.all, ours[here], others, theirs[here])
            alike = _spots(self.all, ours[here], others, theirs[here])
            if agreed >= MANY or (agreed >= FEW and agreed >= SHARE * alike):
                other, test = divmod(int(number), len(self.spots))
                fewer = min(self.spots[test], _apart(block[other], np.arange(len(block[other]))))
                yield Match(test, start + other, agreed, fewer, turn, shift)


def _owners(volumes: Sequence[Fingerprint]) -> NDArray[np.int64]:
    """Return for the landmarks of all volumes, one after another, to which each belongs."""
    return np.repeat(np.arange(len(volumes)), [len(volume) for volume in volumes])


def _agreeing(
    one: Fingerprint,
    ours: NDArray[np.int64],
    other: Fingerprint,
    theirs: NDArray[np.int64],
) -> tuple[int, NDArray[np.int64], NDArray[np.float64]]:
    """Return how many landmarks agree on one turn and shift, on all grids together, and on which.

    The shift is the median of theirs.
    """
    a, b = one.turns[ours].astype(np.int64), other.turns[theirs].astype(np.int64)
    turn = np.einsum("nki,nkj->nij", a, b)  # from their axes to ours
    shift = one.places[ours] - np.einsum("nij,nj->ni", turn, other.places[theirs])
    near = AGREE_VOXELS * np.array(GRIDS_MM)[one.grids[ours]]
    numbers = numbers_of(turn)
    best = 0, np.eye(3, dtype=np.int64), np.zeros(3)
    for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
        if count <= best[0]:
            continue
        same = numbers == number
        agreeing = _near(shift[same], near[same])
        for row in agreeing[np.argsort(-agreeing.sum(1))[:3]]:
            pairs = _spots(one, ours[same][row], other, theirs[same][row])
            if pairs > best[0]:
                best = pairs, TURNS[number], np.median(shift[same][row], axis=0)
    return best


def _near(shift: NDArray[np.float64], near: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return ``(N, N)``: which shifts ``(N, 3)`` differ by less than both may, along each axis."""
    least = np.minimum(near[:, None], near)
    agreeing = np.ones(least.shape, dtype=bool)
    for axis in shift.T:
        agreeing &= np.abs(axis[:, None] - axis) < least
    return agreeing


def _spots(
    one: Fingerprint, ours: NDArray[np.int64], other: Fingerprint, theirs: NDArray[np.int64]
) -> int:
    """Count landmarks in different places, for one place may stand out in several ways."""
    return min(_apart(one, ours), _apart(other, theirs))


def _apart(fingerprint: Fingerprint, chosen: NDArray[np.int64]) -> int:
    grids = fingerprint.grids[chosen].astype(np.int64)
    cells = np.floor(fingerprint.places[chosen] / (2 * np.array(GRIDS_MM)[grids][:, None]))
    x, y, z = cells.astype(np.int64).T % CELLS
    return len(np.unique(((grids * CELLS + x) * CELLS + y) * CELLS + z))


def correlation(test: Volume, other: Volume, match: Match) -> float | None:
    """Correlate what stands out of two volumes where a match lays one on the other.

    On the finest grid that both have, for coarse voxels of one organ look alike in all patients.

    Returns:
        Pearson's correlation over the voxels that both have, of the tissues that agree best; None
        where these are too few.
    """
    grid = max(grids_of(test)[0], grids_of(other)[0])
    (ones, ours), (twos, theirs) = Look(test).reliefs(grid), Look(other).reliefs(grid)
    if not ones or not twos:
        return None
    places = (np.indices(ones[0].shape).reshape(3, -1) + 0.5) * ours[:, None]
    back = match.turn.T @ (places - match.shift[:, None]) / theirs[:, None] - 0.5
    inside = (back >= 0).all(0) & (back <= np.array(twos[0].shape)[:, None] - 1).all(0)
    if inside.sum() < LEAST_VOXELS:
        return None
    laid = [ndimage.map_coordinates(two, back[:, inside], order=1) for two in twos]
    flat = [one.ravel()[inside] for one in ones]
    return max(float(np.corrcoef(one, two)[0, 1]) for one in flat for two in laid)
