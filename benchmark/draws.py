"""Which labelled cases a cell may learn from: shots, nested draws, and their digests.

Shots count cases, patients are never torn apart between training, validation and test. The order
of a draw is a ranking of patients by a hash of (task, draw, patient): the first cases of it train,
the last ones validate, so the 5 of a draw are inside its 10 whatever the validation.

Where cases have classes, the ranking is stratified: it begins with a patient of each class, and
goes on with the class that is farthest behind its share.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from medssl_bench.digest import digest, seed_from
from medssl_bench.errors import BenchError, DataError

if TYPE_CHECKING:
    from medssl_bench.task import Case


@dataclass(frozen=True)
class Shots:
    """How many labelled training cases: ``5``, ``20%`` or ``full``; ``text`` is canonical."""

    text: str

    @classmethod
    def parse(cls, text: str | int) -> Shots:
        """Read a number of cases, a share or ``full`` (``100%`` is ``full``).

        Raises:
            BenchError: it is none of these, zero, or more than 100 %.
        """
        word = str(text).strip().lower()
        if word == "full":
            return cls("full")
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(%?)", word)
        if match is None or ("." in word and not match[2]):
            raise BenchError(
                f"--shots {str(text)!r}: not a number of cases; write a whole number (5),"
                f" a share (20%) or full"
            )
        number = Decimal(match[1])
        if number == 0:
            raise BenchError(f"--shots {str(text)!r}: at least one labelled case is needed")
        if not match[2]:
            return cls(str(int(number)))
        if number > 100:
            raise BenchError(f"--shots {str(text)!r}: a share is at most 100%")
        return cls("full") if number == 100 else cls(f"{number.normalize():f}%")

    def __str__(self) -> str:
        return self.text

    @property
    def is_full(self) -> bool:
        """Whether every training case is used, so that there is only one draw."""
        return self.text == "full"

    def draws(self, asked: int) -> range:
        """Return the draws to make where ``asked`` are wanted; ``full`` has draw 0 only."""
        return range(1) if self.is_full else range(asked)

    def count(self, pool_size: int) -> int:
        """Return the number of cases out of ``pool_size``; shares round half up, at least 1."""
        if self.is_full:
            return pool_size
        if self.text.endswith("%"):
            share = Decimal(self.text[:-1]) * pool_size / 100
            return max(1, math.floor(share + Decimal("0.5")))
        return int(self.text)


@dataclass(frozen=True)
class Draw:
    """The labelled cases of a cell, by id; ``train`` is in drawn order."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    digest: str

    @property
    def labelled(self) -> int:
        """Total of labelled cases used, those of validation included."""
        return len(self.train) + len(self.validation)


def draw_cases(
    pool: Sequence[Case], shots: Shots | str, draw: int, task: str, validation: int = 0
) -> Draw:
    """Draw the training (and validation) cases of a cell from the task's training cases.

    Args:
        pool: the task's cases; those of the pool ``test`` are left out.
        shots: how many of them train. A share is a share of the whole training pool.
        draw: number of the draw, from 0.
        task: the task's name, part of the key of the draw.
        validation: cases for ``--select validation``, taken from the other end of the ranking.

    Raises:
        BenchError: more cases are asked for than there are, or a second draw of ``full``.
    """
    return Ranking.of(pool, draw, task).draw(shots, validation)


@dataclass(frozen=True)
class Ranking:
    """The order in which one draw takes a task's training cases, whatever the shots."""

    task: str
    number: int
    """Of the draw, from 0."""
    ranked: Sequence[Case]

    @classmethod
    def of(cls, pool: Sequence[Case], draw: int, task: str) -> Ranking:
        """Rank the training cases among ``pool`` for a draw; see :func:`draw_cases`."""
        return cls(task, draw, _rank([case for case in pool if case.pool == "train"], draw, task))

    def draw(self, shots: Shots | str, validation: int = 0) -> Draw:
        """Take the cases of a cell; see :func:`draw_cases`."""
        shots = Shots.parse(shots) if isinstance(shots, str) else shots
        if self.number < 0 or self.number not in shots.draws(self.number + 1):
            raise BenchError(
                f"{self.task}: shots {shots} has no draw {self.number}; full has draw 0 only"
            )
        kept_back = self.ranked[max(0, len(self.ranked) - validation) :]
        patients = {case.group for case in kept_back}
        free = [case for case in self.ranked if case.group not in patients]
        count = len(free) if shots.is_full else shots.count(len(self.ranked))
        if count > len(free) or count == 0:
            wanted = f"{shots} ({count} cases)" if shots.text.endswith("%") else f"{shots}"
            besides = f" beside {validation} for validation" if validation else ""
            raise BenchError(
                f"{self.task}: --shots {wanted}{besides} asked, but only {len(free)} training cases"
                f" are available{' then' if validation else ''}; ask for fewer shots"
            )
        train = tuple(case.id for case in free[:count])
        held = tuple(case.id for case in kept_back)
        return Draw(train, held, digest({"train": sorted(train), "validation": sorted(held)}))


def _rank(cases: Sequence[Case], draw: int, task: str) -> list[Case]:
    def key(case: Case) -> tuple[int, str, str]:
        return seed_from(task, "draw", draw, case.group), case.group, case.id

    ranked = sorted(cases, key=key)
    if any(case.class_id is not None for case in ranked):
        return _stratified(ranked)
    return ranked


def _stratified(ranked: Sequence[Case]) -> list[Case]:
    """Reorder ranked cases so that every beginning of the list has each class's share of cases.

    Patients stay whole; one with cases of several classes stands with the class of the first.
    """
    patients: dict[str, list[Case]] = {}
    for case in ranked:
        patients.setdefault(case.group, []).append(case)
    waiting: dict[int, list[list[Case]]] = {}
    for cases in patients.values():
        waiting.setdefault(cases[0].class_id or 0, []).append(cases)
    sizes = {name: sum(map(len, found)) for name, found in waiting.items()}
    taken = dict.fromkeys(waiting, 0)
    # Largest class first: what is drawn alone should be the most frequent.
    first = sorted(waiting, key=lambda name: (-sizes[name], name))
    order: list[Case] = []
    while any(waiting.values()):
        left = [name for name in first if waiting[name]]
        unseen = [name for name in left if not taken[name]]
        due = {name: (len(order) + 1) * sizes[name] / len(ranked) - taken[name] for name in left}
        chosen = unseen[0] if unseen else max(left, key=due.__getitem__)
        patient = waiting[chosen].pop(0)
        taken[chosen] += len(patient)
        order += patient
    return order


def split_digest(train: Iterable[str], test: Iterable[str]) -> str:
    """Digest which cases may train and which are tested, independent of their order."""
    return digest({"train": sorted(train), "test": sorted(test)})


def check_split(cases: Sequence[Case], task: str) -> None:
    """Refuse a split that repeats a case, shares a patient, or leaves a side empty.

    Raises:
        DataError: naming the task and the first case or patient at fault.
    """
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise DataError(f"{task}: case {case.id!r} is listed twice; give each case its own id")
        seen.add(case.id)
    sides = {
        pool: {case.group for case in cases if case.pool == pool} for pool in ("train", "test")
    }
    shared = sorted(sides["train"] & sides["test"])
    if shared:
        raise DataError(
            f"{task}: patient {shared[0]!r} is in both train and test"
            f" ({len(shared)} such in all); split by patient"
        )
    for pool, patients in sides.items():
        if not patients:
            raise DataError(
                f"{task}: the split leaves no {pool} case of {len(cases)}; choose another seed, an"
                " exact number of test cases, or lists"
            )
