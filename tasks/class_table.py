"""Classes of cases in a CSV or TSV file that comes with a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

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

    def classes_of(self, task: str, base: Path, cases: Sequence[str]) -> dict[str, int]:
        """Return the class of each case that has one asked for.

        Raises:
            DataError: No file or column, a case without a row, a case with two classes, or a value
                that means nothing here.
        """
        path = find_table(task, base, self.file)
        table = read_table(task, path, (self.key, self.value))
        values: dict[str, str] = {}
        for raw, value in zip(table[self.key], table[self.value], strict=True):
            key = raw.removesuffix(".0").zfill(self.digits)
            if values.setdefault(key, value) != value:
                raise DataError(
                    f"{task}: {path}: {self.key} {raw} has two values of {self.value},"
                    f" {values[key]!r} and {value!r}"
                )
        found: dict[str, int] = {}
        for case in cases:
            if case not in values:
                raise DataError(
                    f"{task}: {path}: column {self.key!r} has no row for case {case}, whose image"
                    " is there"
                )
            class_id = meaning_of(task, path, self.value, values[case], self.meaning, case)
            if class_id is not None:
                found[case] = class_id
        return found


def find_table(task: str, base: Path, pattern: str) -> Path:
    """Return the first file of this pattern; raises DataError where there is none."""
    found = sorted(path for path in base.glob(pattern) if not path.name.startswith("."))
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
    task: str, path: Path, column: str, value: str, meaning: dict[str, int | None], case: str
) -> int | None:
    """Return the class id of a value; raises DataError where it means nothing here."""
    if value not in meaning:
        raise DataError(
            f"{task}: {path}: column {column!r} says {value!r} of case {case}; known are"
            f" {', '.join(map(repr, meaning))}"
        )
    return meaning[value]
