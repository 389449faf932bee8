"""Classes of cases in a CSV or TSV file that comes with a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from medssl_bench.data.faulty import FaultySource
from medssl_bench.data.folders import match
from medssl_bench.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


class ClassTable(BaseModel):
    """Which file, which columns, and what their values mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str
    """Pattern below the tree; of several files the first by name is read."""
    key: str
    """Column of the cases' ids."""
    value: str
    """Column of the classes."""
    meaning: dict[str, int | None]
    """Value as written -> class id; None where such cases are passed over."""
    digits: int = 0
    """Ids are padded with zeros to so many digits, as folders are named."""

    def classes_of(
        self, task: str, base: Path, cases: Sequence[str]
    ) -> tuple[dict[str, int], dict[str, FaultySource]]:
        """Return the class of each case that has one asked for, and the cases whose class is open.

        That is a case without a row, with two values, or with one that means nothing here.

        Raises:
            DataError: No file or column.
        """
        path = find_table(task, base, self.file)
        table = read_table(task, path, (self.key, self.value))
        values: dict[str, list[str]] = {}
        for raw, value in zip(table[self.key], table[self.value], strict=True):
            known = values.setdefault(raw.removesuffix(".0").zfill(self.digits), [])
            if value not in known:
                known.append(value)
        found: dict[str, int] = {}
        faulty: dict[str, FaultySource] = {}
        for case in cases:
            said = values.get(case, [])
            if not said:
                message = f"column {self.key!r} has no row for case {case}, whose image is there"
                faulty[case] = FaultySource(path, message)
            elif len(said) > 1:
                message = f"case {case} has two values of {self.value}, {' and '.join(said)}"
                faulty[case] = FaultySource(path, message)
            else:
                class_id = meaning_of(path, self.value, said[0], self.meaning, case)
                if isinstance(class_id, FaultySource):
                    faulty[case] = class_id
                elif class_id is not None:
                    found[case] = class_id
        return found, faulty


def find_table(task: str, base: Path, pattern: str) -> Path:
    """Return the first file of this pattern; raises DataError where there is none."""
    found = match(base, pattern, [])  # what may not be read is told where scans are looked for
    if not found:
        raise DataError(f"{task}: no {pattern} in {base}, which says the classes; put it there")
    return found[0]


def read_table(task: str, path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of a CSV (or, by its ending, TSV) file as text without blanks around it.

    Raises:
        DataError: It cannot be read, or lacks a column; one line that names file and column.
    """
    import pandas as pd

    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{task}: {path}: cannot be read ({error})") from None
    table.columns = table.columns.str.strip()
    for column in columns:
        if column not in table.columns:
            known = [*map(str, table.columns)]
            raise DataError(
                f"{task}: {path}: no column {column!r}.{did_you_mean(column, known)} It has"
                f" {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"
            )
    return table[[*columns]].apply(lambda values: values.str.strip())


def meaning_of(
    path: Path, column: str, value: str, meaning: dict[str, int | None], case: str
) -> int | FaultySource | None:
    """Return the class id of a value, or what is wrong where it means nothing here."""
    if value not in meaning:
        known = ", ".join(map(repr, meaning))
        message = f"column {column!r} says {value!r} of case {case}; known are {known}"
        return FaultySource(path, message)
    return meaning[value]
