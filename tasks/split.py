"""Which cases of a user's task train and which are tested.

A split by share is a pure function of (seed, patient): a patient is tested where a hash of the two
lies below the share. So two tasks with the same seed and share agree on every patient they have in
common (one patient in CT and MR), and a case that is added moves no other. Its price: the number
of test patients is the share only on average. ``test: 6`` tests exactly the 6 patients of lowest
hash instead, and two tasks agree where their patients are the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, model_validator

from medssl_bench.digest import seed_from
from medssl_bench.errors import DataError

Pool = Literal["train", "test"]


class Rule(Protocol):
    """Anything that gives every case its side."""

    def pools(self, patients: Mapping[str, str]) -> dict[str, Pool]:
        """Return case -> side, given case -> patient."""


class FromNumber(BaseModel):
    """Cases are tested from a number on; a case's number is the last one in its id.

    A case without a number has no side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    first: int

    def pools(self, patients: Mapping[str, str]) -> dict[str, Pool]:
        """Return case -> side, given case -> patient."""
        pools: dict[str, Pool] = {}
        for case in patients:
            numbers = re.findall(r"[0-9]+", case)
            if numbers:
                pools[case] = "test" if int(numbers[-1]) >= self.first else "train"
        return pools


class Rounded(BaseModel):
    """The patients of lowest hash are tested: as many as the share comes to, rounded, at least 1.

    With the whole release that is the published number; with a part of it, its share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    test: int
    of: int
    seed: int = 0

    def pools(self, patients: Mapping[str, str]) -> dict[str, Pool]:
        """Return case -> side, given case -> patient."""
        count = len({*patients.values()}) * self.test / self.of
        return Split(test=max(1, math.floor(count + 0.5)), seed=self.seed).pools(patients)


class Stratified(BaseModel):
    """Of the patients of each class, those of lowest hash are tested: a share, as in Rounded."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    test: int
    of: int
    seed: int = 0

    def pools_of(self, patients: Mapping[str, str], classes: Mapping[str, int]) -> dict[str, Pool]:
        """Return case -> side, given case -> patient and case -> class.

        A patient with cases of several classes counts for the least class id.
        """
        class_of: dict[str, int] = {}
        for case, patient in patients.items():
            class_of[patient] = min(classes[case], class_of.get(patient, classes[case]))
        pools: dict[str, Pool] = {}
        rule = Rounded(test=self.test, of=self.of, seed=self.seed)
        for class_id in sorted({*class_of.values()}):
            pools |= rule.pools({p: p for p, found in class_of.items() if found == class_id})
        return {case: pools[patient] for case, patient in patients.items()}


class Split(BaseModel):
    """A share or number of patients and a seed, or lists of ids (of cases or of patients)."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)
    test: int | float | tuple[str, ...]
    train: tuple[str, ...] | None = None
    """Left out beside a list ``test``: every other case trains."""
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Split:
        if isinstance(self.test, tuple):
            return self
        if self.test <= 0 or (isinstance(self.test, float) and self.test >= 1):
            raise ValueError("`test` is a share between 0 and 1, a number of patients, or a list")
        if self.train is not None:
            raise ValueError("`train` is a list only where `test` is one")
        return self

    def pools(self, patients: Mapping[str, str]) -> dict[str, Pool]:
        """Return case -> side, given case -> patient; what the lists leave out has no side.

        Raises:
            DataError: the lists put a case on both sides.
        """
        if isinstance(self.test, tuple):
            return self._listed_pools(self.test, patients)
        hashes = {patient: seed_from(self.seed, "split", patient) for patient in patients.values()}
        if isinstance(self.test, int):
            ranked = sorted(hashes, key=lambda patient: (hashes[patient], patient))
            tested = set(ranked[: self.test])
        else:
            tested = {patient for patient in hashes if hashes[patient] < self.test * 2**63}
        return {
            case: "test" if patient in tested else "train" for case, patient in patients.items()
        }

    def _listed_pools(self, test: tuple[str, ...], patients: Mapping[str, str]) -> dict[str, Pool]:
        pools: dict[str, Pool] = {}
        for case, patient in patients.items():
            names = {case, patient}
            tested = bool(names & {*test})
            if tested and names & {*(self.train or ())}:
                raise DataError(f"the split lists {case!r} in both train and test")
            if tested:
                pools[case] = "test"
            elif self.train is None or names & {*self.train}:
                pools[case] = "train"
        return pools

    @property
    def listed(self) -> tuple[str, ...]:
        """Every id that is written out."""
        return (*self.test, *(self.train or ())) if isinstance(self.test, tuple) else ()
