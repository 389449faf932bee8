"""Which landmarks of two sets of volumes look alike, found without comparing each with each.

Landmarks that may look alike are looked up by the signs of random projections (locality-sensitive
hashing; Charikar, STOC 2002) of their whitened principal components, for as they are, most
landmarks look somewhat alike: bright or dark in the middle. Nearly all that are found so look
different after all, and to compare descriptors takes longest. So two volumes are compared only
where enough of their candidates agree on one turn, and along each axis on one shift: less than
that cannot become a match, whatever the descriptors say.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from medssl_bench.audit.fingerprint import GRIDS_MM, TERMS, Fingerprint

ALIKE = 0.9
"""Least correlation of two descriptors."""
AGREE_VOXELS = 1.0
"""Farthest two shifts lie apart that are the same, in voxels of the grid."""
FEW = 5
"""Landmarks that agree below which two volumes are not compared any further."""
TABLES, BITS, COMPONENTS = 6, 22, 16
SLOTS_BITS = 20
"""Of the table in which candidates that may agree are counted."""
CELL_MM = 4.1 * AGREE_VOXELS * max(GRIDS_MM)
"""Twice as wide as shifts that agree with one can lie apart, and a little more for rounding."""

Indices = NDArray[np.int64]

TURNS: Indices = np.array(
    sorted(
        (np.eye(3, dtype=np.int64)[list(axes)] * np.array(signs)[:, None]).tolist()
        for axes in permutations(range(3))
        for signs in product((-1, 1), repeat=3)
    )
)
"""``(48, 3, 3)``: all signed permutations."""
_POWERS = 3 ** np.arange(9)
_NUMBER = np.full(3**9, -1)
_NUMBER[(TURNS.reshape(-1, 9) + 1) @ _POWERS] = np.arange(len(TURNS))


def numbers_of(turns: NDArray[np.integer]) -> Indices:
    """Return the places ``(N,)`` of signed permutations ``(N, 3, 3)`` among ``TURNS``."""
    found: Indices = _NUMBER[(turns.reshape(-1, 9).astype(np.int64) + 1) @ _POWERS]
    return found


_BETWEEN = numbers_of(np.einsum("aki,bkj->abij", TURNS, TURNS)).astype(np.int32)
"""At ``48 a + b`` the turn from the axes of a landmark turned by ``b`` to those of one by ``a``."""
_ALL_TURNS = TURNS.transpose(1, 2, 0).astype(np.float32)
_KINDS = 64
"""A volume's number times this and a turn's stand in one number."""


class Candidates:
    """The landmarks of many volumes, hashed, to look those of others up."""

    def __init__(self, landmarks: Fingerprint, owner: Indices) -> None:
        """Hash every landmark; ``owner`` ``(N,)`` says to which volume it belongs."""
        self.landmarks, self.owner = landmarks, owner
        self.volumes = int(owner.max(initial=-1)) + 1
        self.axes = np.ascontiguousarray(landmarks.places.T)
        self.middle, whitening = _whitening(landmarks.descriptors)
        projections = np.random.default_rng(0).standard_normal((TABLES, COMPONENTS, BITS))
        self.projections = (whitening @ projections).astype(np.float32)
        codes = self._codes(landmarks).ravel()
        order = np.argsort(codes, kind="stable")
        self.codes, self.first, self.count = np.unique(
            codes[order], return_index=True, return_counts=True
        )
        self.order = (order % max(1, len(owner))).astype(np.int32)
        kinds = owner * _KINDS + numbers_of(landmarks.turns)
        self.kinds = kinds.astype(np.int32)[self.order]

    def alike(self, others: Fingerprint, owner: Indices) -> tuple[Indices, Indices]:
        """Return pairs of landmarks, ours and theirs, whose descriptors correlate enough.

        All such pairs that were looked up, of any two volumes in which ``FEW`` could agree.

        Args:
            others: The landmarks to look up.
            owner: ``(N,)`` to which volume each belongs.
        """
        theirs, ours = self._looked_up(others, owner)
        both = np.unique(theirs * len(self.owner) + ours)
        theirs, ours = np.divmod(both, max(1, len(self.owner)))
        dot = np.einsum(
            "nk,nk->n",
            self.landmarks.descriptors[ours].astype(np.float32),
            others.descriptors[theirs].astype(np.float32),
        )
        kept = dot > ALIKE * 127**2
        return ours[kept], theirs[kept]

    def _codes(self, fingerprint: Fingerprint) -> NDArray[np.int32]:
        """Return ``(TABLES, N)``: the table, the grid and the signs of a landmark's projections."""
        bits = np.matmul(fingerprint.descriptors - self.middle, self.projections) > 0
        signs = bits.astype(np.float32) @ (2.0 ** np.arange(BITS)).astype(np.float32)
        tables = np.arange(TABLES, dtype=np.int32)[:, None] * len(GRIDS_MM)
        codes: NDArray[np.int32] = signs.astype(np.int32)
        return codes + ((tables + fingerprint.grids) << BITS)

    def _looked_up(self, others: Fingerprint, owner: Indices) -> tuple[Indices, Indices]:
        """Return pairs that share a code, theirs and ours, of volumes in which ``FEW`` could agree.

        The numbers are many and the work on each is little, so they are kept small.
        """
        codes = self._codes(others).ravel()
        order = np.argsort(codes)  # neighbours are looked up faster one after another
        codes = codes[order]
        at = np.searchsorted(self.codes, codes)
        at[at == len(self.codes)] = 0
        known = self.codes[at] == codes if len(self.codes) else np.zeros(len(codes), dtype=bool)
        at, needle = at[known], order[known] % max(1, len(others))
        count = self.count[at]
        begins = (self.first[at] - (np.cumsum(count) - count)).astype(np.int32)
        found = np.repeat(begins, count)
        found += np.arange(len(found), dtype=np.int32)
        theirs = np.repeat(needle.astype(np.int32), count)
        turns = numbers_of(others.turns).astype(np.int32)

        kinds = self.kinds.take(found)
        turn = kinds & (_KINDS - 1)
        turn *= len(TURNS)
        turn += np.repeat(turns[needle], count)
        turn = _BETWEEN.take(turn)
        group = kinds & -_KINDS
        group += np.repeat((owner[needle] * (self.volumes * _KINDS)).astype(np.int32), count)
        group |= turn
        near = np.flatnonzero((np.bincount(group, minlength=1) >= FEW).take(group))
        groups, turned = group.take(near), theirs.take(near) * len(TURNS) + turn.take(near)
        ours = self.order.take(found.take(near))
        for axis in range(3):
            moved = (others.places @ _ALL_TURNS[axis]).ravel()
            shift = self.axes[axis].take(ours)
            shift -= moved.take(turned)
            shift /= CELL_MM
            kept = np.flatnonzero(_crowded(groups, shift) | _crowded(groups, shift + 0.5))
            groups, turned, ours = groups.take(kept), turned.take(kept), ours.take(kept)
        pairs = np.zeros(len(others) and (int(owner[-1]) + 1) * self.volumes, dtype=bool)
        pairs[groups // _KINDS] = True
        chosen = np.flatnonzero(pairs.take(group // _KINDS))
        return theirs[chosen].astype(np.int64), self.order[found[chosen]].astype(np.int64)


def _crowded(groups: NDArray[np.int32], shift: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which shifts (cells) share a group and a cell with ``FEW - 1`` others.

    Some that do not are told as well, for what is counted are hashes, and a pair found in several
    tables counts in each.
    """
    keys = np.floor(shift).astype(np.int32).view(np.uint32)
    keys += groups.view(np.uint32) * np.uint32(0x85EBCA6B)
    keys *= np.uint32(0x9E3779B1)
    keys >>= np.uint32(32 - SLOTS_BITS)
    crowded: NDArray[np.bool_] = (np.bincount(keys, minlength=1) >= FEW).take(keys)
    return crowded


def _whitening(descriptors: NDArray[np.int8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the middle ``(TERMS,)`` and the way to ``COMPONENTS`` of equal variance."""
    values = descriptors.astype(np.float64)
    middle = values.mean(0) if len(values) else np.zeros(TERMS)
    size, axes = np.linalg.eigh((values - middle).T @ (values - middle) / max(1, len(values)))
    size, axes = size[::-1][:COMPONENTS], axes[:, ::-1][:, :COMPONENTS]
    whitening = axes / np.sqrt(np.maximum(size, max(1e-3 * size[0], 1e-9)))
    return middle.astype(np.float32), whitening.astype(np.float32)
