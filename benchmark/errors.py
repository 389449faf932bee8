"""The errors a user can cause; each says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Wrong use or wrong input: one clear line, exit code 2, nothing started."""


class UnsuitedError(BenchError):
    """A method cannot learn from this corpus; a pattern such as ``all`` leaves it out."""


class DataError(BenchError):
    """A file or folder of data is missing, unreadable or inconsistent."""


class CaseError(Exception):
    """A fault found while work is under way; it stops only the cells that depend on it."""


class DivergedError(CaseError):
    """A loss or a probability is no longer a finite number."""


class FaultyDataError(CaseError):
    """A case that the work needs cannot be used; its file is named."""


class MemoryShortageError(CaseError):
    """What the work needs does not fit into memory; found before it was tried."""


class DamagedError(CaseError):
    """A file of a results folder is not as it was written."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string."""
    spelled = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=0.5)
    return f" Did you mean {spelled[near[0]]!r}?" if near else ""
