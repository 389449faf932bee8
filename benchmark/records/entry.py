"""One record's folder, read with everything in it looked at."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medssl_bench.durable import SUMS
from medssl_bench.errors import BenchError
from medssl_bench.record import Record, folder_name, headline, parse_record
from medssl_bench.records.definitions import definition_faults
from medssl_bench.records.finding import Finding
from medssl_bench.records.layout import LARGEST_TABLE, TABLES, is_optional
from medssl_bench.records.numbers import metric_faults, metrics_of
from medssl_bench.records.privacy import absolute_paths
from medssl_bench.records.rows import column_faults, row_faults

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True)
class Entry:
    """A record whose files are as they were written."""

    where: str
    """Its folder below the results folder."""
    folder: Path
    record: Record
    cases: pd.DataFrame
    seal: str
    """SHA-256 of its SHA256SUMS: two runs of a cell have two."""
    files: Mapping[str, Path]
    """Name -> path of every file that is there, checksums included."""

    @property
    def headline(self) -> tuple[str, int | float | None]:
        """Name and value of the one number that sums it up; None where it is missing."""
        try:
            return headline(self.record.metrics)
        except KeyError:
            return "Dice", None

    @property
    def number(self) -> str:
        """The same as text."""
        name, value = self.headline
        return f"{name} {value:.6f}" if value is not None else f"{name} missing"


def read_entry(folder: Path, where: str) -> tuple[Entry | None, list[Finding]]:
    """Read a record's folder; None where it cannot be trusted, and what is wrong with it.

    Looked at: checksums, schema, key and place, tables, that each test case has each target, that
    metrics are those of the case table, definitions, and paths of the machine it was made on.
    """
    try:
        contents, seal = _sealed(folder)
        record = parse_record(contents["record.json"], Path(where) / "record.json")
    except BenchError as error:
        return None, [Finding(where, "seal", str(error).removeprefix(f"{where}/record.json: "))]
    findings = []
    if (folder_name(record.cell.task), record.cell.slug) != _place(where):
        findings.append(Finding(where, "place", f"it is the record of {record.cell.slug}"))
    tables: dict[str, pa.Table] = {}
    for name in TABLES:
        if name in contents:
            try:
                tables[name] = read_bounded(contents[name])
            except BenchError as error:
                findings.append(Finding(where, "table", f"{name}: {error}"))
    findings += [Finding(where, "paths", text) for text in _paths(record, tables)]
    findings += [Finding(where, "definitions", text) for text in definition_faults(record)]
    if "cases.parquet" not in tables:
        return None, findings
    if faults := [*column_faults(tables)]:
        return None, findings + [Finding(where, "table", text) for text in faults]
    cases = tables["cases.parquet"].to_pandas()
    findings += [Finding(where, "rows", text) for text in row_faults(record, cases)]
    findings += [Finding(where, "metrics", text) for text in _metrics(record, cases)]
    files = {name: folder / name for name in (*contents, SUMS)}
    return Entry(where, folder, record, cases, seal, files), findings


def _place(where: str) -> tuple[str, str]:
    """Return task and slug as the folder says them: ``records/TASK/SLUG`` or a conflict's."""
    parts = Path(where).parts
    return (parts[1], parts[2]) if len(parts) > 2 else ("", "")


def _sealed(folder: Path) -> tuple[dict[str, bytes], str]:
    """Read every file that the checksums name.

    Raises:
        BenchError: One is not as it was written, is missing, is a link, or is not named.
    """
    present: dict[str, Path] = {}
    if folder.is_symlink() or folder.parent.is_symlink():
        raise BenchError("its folder is a link")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BenchError(f"{name} is a link")
        if not path.is_dir():
            present[name] = path
    sums = present.pop(SUMS, None)
    if sums is None:
        raise BenchError(f"no {SUMS}")
    sealed = sums.read_bytes()
    expected: dict[str, str] = {}
    for line in sealed.decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None or match[2] in expected:
            raise BenchError(f"{SUMS} is damaged at {line[:80]!r}")
        expected[match[2]] = match[1]
    contents: dict[str, bytes] = {}
    for name in sorted({*expected, *present}):
        if name not in expected:
            raise BenchError(f"{name} is not in {SUMS}")
        if name in present:
            contents[name] = present[name].read_bytes()
            if hashlib.sha256(contents[name]).hexdigest() != expected[name]:
                raise BenchError(f"{name} is not as it was written: its digest is another")
        elif not is_optional(name):
            raise BenchError(f"{name} is missing")
    for name in ("record.json", "cases.parquet", "history.parquet"):
        if name not in contents:
            raise BenchError(f"{name} is missing")
    return contents, hashlib.sha256(sealed).hexdigest()


def read_bounded(content: bytes) -> pa.Table:
    """Read a parquet table that says beforehand how large it will be.

    Raises:
        BenchError: It is damaged, or larger than ``LARGEST_TABLE`` once unpacked.
    """
    import pyarrow as pa
    import pyarrow.parquet

    try:
        file = pa.parquet.ParquetFile(pa.BufferReader(content))
        groups = file.metadata.num_row_groups
        size = sum(file.metadata.row_group(place).total_byte_size for place in range(groups))
        if size > LARGEST_TABLE or file.metadata.num_rows > LARGEST_TABLE // 8:
            raise BenchError(f"would be {size:,} bytes, more than {LARGEST_TABLE:,}")
        return file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BenchError(f"damaged parquet ({str(error).splitlines()[0]})") from None


def _paths(record: Record, tables: Mapping[str, pa.Table]) -> Iterator[str]:
    for field, path in absolute_paths(record.model_dump(mode="json")):
        yield f"record.json: {field} holds a path of a machine: {path}"
    for name, table in tables.items():
        metadata = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
                    for key, value in (table.schema.metadata or {}).items()}  # fmt: skip
        texts: list[Any] = [metadata, table.column_names]
        texts += [
            column.unique().to_pylist()
            for column in table.columns
            if "string" in str(column.type)
        ]  # fmt: skip
        for _, path in absolute_paths(texts):
            yield f"{name} holds a path of a machine: {path}"
            break


def _metrics(record: Record, cases: pd.DataFrame) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = metrics_of(cases)
    except (BenchError, ValueError, KeyError, TypeError) as error:
        yield f"cannot be computed from cases.parquet: {error}"
        return
    yield from metric_faults(record.metrics, again)
