"""Units as users name them on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medssl_bench.errors import BenchError, did_you_mean
from medssl_bench.slurm.state import UnitState


def named(units: Sequence[UnitState], words: Iterable[str]) -> list[UnitState]:
    """Return the units that the words name: a key or its start, a job, or words of the title.

    ``"smit amos_mri"`` names every unit whose title holds both words.

    Raises:
        BenchError: A word names none.
    """
    found: dict[str, UnitState] = {}
    for word in words:
        hits = [one for one in units if _is_meant(one, word)]
        if not hits:
            near = did_you_mean(word, (one.unit.title for one in units))
            raise BenchError(f"no unit {word!r} was submitted from here.{near} See `bench status`")
        found.update((one.unit.name, one) for one in hits)
    return list(found.values())


def _is_meant(one: UnitState, word: str) -> bool:
    key = one.unit.name.partition("-")[2]
    if word in (one.unit.name, one.job) or (len(word) >= 6 and key.startswith(word)):
        return True
    title = one.unit.title.split()
    return word == one.unit.title or all(part in title for part in word.split())
