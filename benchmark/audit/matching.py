"""Finding the same scan in two sets of fingerprints, fast where the sets are large.

Landmarks that look alike are looked up by the signs of random projections (locality-sensitive
hashing; Charikar, STOC 2002), so that a corpus streams past an index of the test cases in memory
that does not grow with it. Projected are whitened principal components, for as they are, most
landmarks look somewhat alike: bright or dark in the middle. Alike is not enough: the landmarks of
one scan agree besides on how the two arrays lie to each other. Counted are those that agree on one
turn and one shift. Where few agree, the voxels themselves decide (:func:`correlation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medssl_bench.audit.fingerprint import (
    GRIDS_MM,
    TERMS,
    Fingerprint,
    Look,
    grids_of,
    joined,
)
from medssl_bench.data.volume import Volume

ALIKE = 0.9
"""Least correlation of two descriptors."""
AGREE_VOXELS = 1.0
"""Farthest two shifts lie apart that are the same, in voxels of the grid."""
CERTAIN = 20
"""Landmarks that agree from which on two volumes show the same, whatever their contrast."""
MANY, FEW, SHARE = 8, 5, 0.25
"""Worth comparing voxels: ``MANY`` agree, or ``FEW`` and this share of the landmarks alike."""
CORRELATED = 0.7
"""Correlation of the voxels from which on two volumes in which few landmarks agree are one scan."""
LEAST_VOXELS = 500
"""Voxels of the overlap below which a correlation says nothing."""
TABLES, BITS, COMPONENTS = 6, 22, 16
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
        self.counts = np.array([len(test) for test in tests], dtype=np.int64)
        self.spots = [_apart(test, np.arange(len(test))) for test in tests]
        self.owner = np.repeat(np.arange(len(tests)), self.counts)
        self.all = joined(tests)
        self.descriptors = self.all.descriptors.astype(np.float32)
        self.middle, whitening = _whitening(self.all.descriptors)
        projections = np.random.default_rng(0).standard_normal((TABLES, COMPONENTS, BITS))
        self.projections = (whitening @ projections).astype(np.float32)
        self.tables = []
        for codes in self._codes(self.all):
            order = np.argsort(codes, kind="stable")
            self.tables.append((codes[order], order))

    def matches(self, others: Iterable[Fingerprint]) -> Iterator[Match]:
        """Yield every pair of a test volume and another that may show the same."""
        block: list[Fingerprint] = []
        start = 0
        for other in others:
            block.append(other)
            if len(block) == BLOCK:
                yield from self._compare(block, start)
                start += len(block)
                block = []
        if block:
            yield from self._compare(block, start)

    def _compare(self, block: Sequence[Fingerprint], start: int) -> Iterator[Match]:
        others = joined(block)
        counts = np.array([len(other) for other in block], dtype=np.int64)
        owner = np.repeat(np.arange(len(block)), counts)
        ours, theirs = self._alike(others)
        pair = owner[theirs] * len(self.counts) + self.owner[ours]
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
                other, test = divmod(int(number), len(self.counts))
                fewer = min(self.spots[test], _apart(block[other], np.arange(counts[other])))
                yield Match(test, start + other, agreed, fewer, turn, shift)

    def _codes(self, fingerprint: Fingerprint) -> NDArray[np.int64]:
        """Return ``(TABLES, N)``: the signs of a descriptor's projections and its grid."""
        bits = np.matmul(fingerprint.descriptors - self.middle, self.projections) > 0
        weights = 1 << np.arange(BITS, dtype=np.int64)
        codes: NDArray[np.int64] = bits @ weights + (fingerprint.grids.astype(np.int64) << BITS)
        return codes

    def _alike(self, others: Fingerprint) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return pairs of landmarks, ours and theirs, whose descriptors correlate enough."""
        descriptors = others.descriptors.astype(np.float32)
        found = []
        for (known, order), codes in zip(self.tables, self._codes(others), strict=True):
            first = np.searchsorted(known, codes, "left")
            count = np.searchsorted(known, codes, "right") - first
            theirs = np.repeat(np.arange(len(codes)), count)
            within = np.arange(len(theirs)) - np.repeat(np.cumsum(count) - count, count)
            ours = order[np.repeat(first, count) + within]
            dot = np.einsum("nk,nk->n", self.descriptors[ours], descriptors[theirs])
            alike = dot > ALIKE * 127**2
            found.append(theirs[alike] * len(self.owner) + ours[alike])
        theirs, ours = np.divmod(np.unique(np.concatenate(found)), max(1, len(self.owner)))
        return ours, theirs


def _whitening(descriptors: NDArray[np.int8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the middle ``(TERMS,)`` and the way to ``COMPONENTS`` of equal variance."""
    values = descriptors.astype(np.float64)
    middle = values.mean(0) if len(values) else np.zeros(TERMS)
    size, axes = np.linalg.eigh((values - middle).T @ (values - middle) / max(1, len(values)))
    size, axes = size[::-1][:COMPONENTS], axes[:, ::-1][:, :COMPONENTS]
    whitening = axes / np.sqrt(np.maximum(size, max(1e-3 * size[0], 1e-9)))
    return middle.astype(np.float32), whitening.astype(np.float32)


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
    best = 0, np.eye(3, dtype=np.int64), np.zeros(3)
    for code in np.unique(turn.reshape(-1, 9), axis=0):
        same = (turn.reshape(-1, 9) == code).all(1)
        apart = np.abs(shift[same][:, None] - shift[same]).max(-1)
        agreeing = apart < np.minimum(near[same][:, None], near[same])
        for row in agreeing[np.argsort(-agreeing.sum(1))[:3]]:
            pairs = _spots(one, ours[same][row], other, theirs[same][row])
            if pairs > best[0]:
                best = pairs, code.reshape(3, 3), np.median(shift[same][row], axis=0)
    return best


def _spots(
    one: Fingerprint, ours: NDArray[np.int64], other: Fingerprint, theirs: NDArray[np.int64]
) -> int:
    """Count landmarks in different places, for one place may stand out in several ways."""
    return min(_apart(one, ours), _apart(other, theirs))


def _apart(fingerprint: Fingerprint, chosen: NDArray[np.int64]) -> int:
    grids = fingerprint.grids[chosen]
    cells = np.floor(fingerprint.places[chosen] / (2 * np.array(GRIDS_MM)[grids][:, None]))
    return len(np.unique(np.column_stack([grids, cells]), axis=0))


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
