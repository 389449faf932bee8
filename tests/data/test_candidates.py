"""Landmarks that look alike are found wherever enough of two volumes could agree."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from medssl_bench.audit.candidates import FEW, TURNS, Candidates, numbers_of
from medssl_bench.audit.fingerprint import GRIDS_MM, TERMS, Fingerprint, joined


def random_landmarks(rng: np.random.Generator, count: int) -> Fingerprint:
    descriptors = rng.normal(size=(count, TERMS))
    descriptors *= 127 / np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Fingerprint(
        rng.uniform(0, 300, (count, 3)).astype(np.float32),
        TURNS[rng.integers(0, 48, count)].astype(np.int8),
        rng.integers(0, len(GRIDS_MM), count).astype(np.int8),
        np.rint(descriptors).astype(np.int8),
    )


def moved(
    some: Fingerprint, turn: np.ndarray, shift: np.ndarray, rng: np.random.Generator
) -> Fingerprint:
    """Return the landmarks as another scan of other axes has them, each a little off."""
    off = rng.uniform(-0.49, 0.49, some.places.shape) * np.array(GRIDS_MM)[some.grids][:, None]
    return Fingerprint(
        ((some.places + off) @ turn.T + shift).astype(np.float32),
        (some.turns @ turn.T).astype(np.int8),
        some.grids,
        some.descriptors,
    )


def first(some: Fingerprint, count: int) -> Fingerprint:
    arrays = (some.places, some.turns, some.grids, some.descriptors)
    return Fingerprint(*(array[:count] for array in arrays))


def test_there_are_48_turns_each_with_its_number() -> None:
    matrices = [m for m in product((-1, 0, 1), repeat=9)]
    every = np.array(matrices).reshape(-1, 3, 3)
    signed = every[(np.einsum("nij,nkj->nik", every, every) == np.eye(3)).all((1, 2))]
    assert len(signed) == len(TURNS) == 48
    np.testing.assert_array_equal(TURNS[numbers_of(signed)], signed)


@pytest.mark.parametrize("seed", range(30))
def test_a_few_that_agree_are_found_wherever_they_lie(seed: int) -> None:
    """At any turn and shift, so across any border of the cells in which they are counted."""
    rng = np.random.default_rng(seed)
    volumes = [random_landmarks(rng, 60) for _ in range(4)]
    index = Candidates(joined(volumes), np.repeat(np.arange(4), 60))
    turn, shift = TURNS[rng.integers(48)], rng.uniform(-200, 200, 3)
    other = joined([moved(first(volumes[2], FEW), turn, shift, rng), random_landmarks(rng, 60)])
    owner = np.repeat([0, 1], [FEW, 60])
    ours, theirs = index.alike(other, owner)
    assert ours.tolist() == [*range(120, 120 + FEW)] and theirs.tolist() == [*range(FEW)]


def test_volumes_without_landmarks_are_like_nothing() -> None:
    none, some = (
        random_landmarks(np.random.default_rng(0), 0),
        random_landmarks(np.random.default_rng(1), 10),
    )
    for known, others in ((none, some), (some, none), (none, none)):
        index = Candidates(known, np.zeros(len(known), dtype=np.int64))
        ours, theirs = index.alike(others, np.zeros(len(others), dtype=np.int64))
        assert len(ours) == len(theirs) == 0
