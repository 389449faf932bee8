"""Overlaps that publishers state: tables that name a corpus volume and a test case in one row.

Read are tables that lie beside the corpus's scans, such as ``BraTS21-17_Mapping.csv`` or the
metadata of UCSF-PDGM with its column ``BraTS21 ID``, and those the user names. Which columns hold
ids is found by the ids themselves, for publishers call them differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.errors import DataError

if TYPE_CHECKING:
    from medssl_bench.task import Case

PATTERNS = ("*apping*.csv", "*etadata*.csv")
"""Names of tables looked for in a corpus's folder."""
LONGEST = 100_000
"""Rows; a longer table is no list of patients."""


def find_tables(folders: Sequence[Path]) -> list[Path]:
    """Find the tables that lie in these folders or directly below them."""
    found = {
        path
        for folder in folders
        for pattern in PATTERNS
        for path in (*folder.glob(pattern), *folder.glob(f"*/{pattern}"))
    }
    return sorted(found)


def known_overlaps(
    table: Path, volumes: Sequence[Case], tests: Sequence[Case]
) -> Iterator[tuple[Case, Case, str]]:
    """Yield (test case, volume, evidence) for every row of a table that names both.

    Ids are compared without regard to case and to zeros before a number (UCSF-PDGM-004 is
    UCSF-PDGM-0004); a patient's id stands for all of the patient's scans.

    Raises:
        DataError: The table cannot be read.
    """
    import pandas as pd

    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False, nrows=LONGEST)
    except (OSError, ValueError) as error:  # pandas raises its parser errors as ValueError
        cause = " ".join(str(error).split())
        raise DataError(f"{table}: cannot be read as a table ({cause})") from error
    ours, theirs = _by_id(tests), _by_id(volumes)
    for number, row in enumerate(rows.itertuples(index=False), start=2):
        cells = {normal(str(cell)) for cell in row} - {""}
        for test in _named(cells, ours):
            for volume in _named(cells, theirs):
                if volume is not test:
                    yield test, volume, f"{table.name} names both in row {number}"


def normal(name: str) -> str:
    """Return an id without regard to case, separators and zeros before numbers."""
    words = re.findall(r"[a-z]+|[0-9]+", name.lower())
    return "-".join(word.lstrip("0") or "0" if word.isdigit() else word for word in words)


def _by_id(cases: Sequence[Case]) -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        last = case.id.rsplit("/", 1)[-1]  # a corpus of folders puts them before the name
        for name in {normal(case.id), normal(last), normal(case.patient)}:
            if re.search("[a-z].*[0-9]", name):  # a number alone may be anybody's age
                found.setdefault(name, []).append(case)
    return found


def _named(cells: set[str], cases: dict[str, list[Case]]) -> list[Case]:
    found = {case.id: case for cell in cells for case in cases.get(cell, ())}
    return list(found.values())
