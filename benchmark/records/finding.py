"""What is wrong with records, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medssl_bench.analysis.text import columns

Level = Literal["error", "conflict"]


@dataclass(frozen=True)
class Finding:
    """One fault of one record, set or bundle."""

    where: str
    """The record's folder, the bundle, or the group of cells."""
    check: str
    """What was looked at, in a word: ``seal``, ``metrics``, ``draws``, ..."""
    message: str
    level: Level = "error"
    """``conflict``: two runs of one cell with different numbers, both kept and shown."""

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "where": self.where, "check": self.check, "level": self.level, "message": self.message,
        }  # fmt: skip


def as_table(findings: Sequence[Finding]) -> str:
    """Align findings; what a hostile name would do to a terminal is escaped."""
    return columns(
        [
            ["where", "check", "finding"],
            *([printable(f.where), f.check, printable(f.message)] for f in findings),
        ]
    )


def printable(text: str) -> str:
    """Return the text with line ends, escape sequences and marks of direction spelled out."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def shown(names: Iterable[object], most: int = 3) -> str:
    """Name the first few of many."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
