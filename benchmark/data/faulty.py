"""What stands for a volume that a listing could not find, or could not tell from another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from medssl_bench.errors import DataError
from medssl_bench.task import Case

CLOSED = "no permission to read it; ask its owner, or leave it out of the tree"


@dataclass(frozen=True)
class FaultySource:
    """A volume that cannot be had; whoever asks for it is told why.

    So one missing file stops a run by name, and hides none of the other cases from whoever looks
    at them all.
    """

    path: Path
    """The file or folder at fault, or where it was expected."""
    message: str

    def __str__(self) -> str:
        return str(self.path)

    def header(self) -> NoReturn:
        """Raise DataError with the path and the fault."""
        raise DataError(f"{self.path}: {self.message}")

    def read(self) -> NoReturn:
        """Raise DataError with the path and the fault."""
        self.header()

    def digest(self) -> NoReturn:
        """Raise DataError with the path and the fault."""
        self.header()


def closed_cases(base: Path, closed: Iterable[Path], channels: Iterable[str]) -> list[Case]:
    """Return a case for each file or folder below ``base`` that may not be read.

    Its cases, if any, are not known; this one says so in their place.
    """
    return [
        Case(
            path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path),
            dict.fromkeys(channels, FaultySource(path, CLOSED)),
        )
        for path in sorted({*closed})
    ]
