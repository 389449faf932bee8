"""A task's split as a file: written by ``bench data split``, given back by ``--split``.

A published list is read as well: JSON with a list for each side, a table with a column of ids and
one of sides, or one text file for each side (``la_train.list,la_test.list``), a case per line.

What a list writes names a case if it is the case's id or its patient, upper or lower case alike,
once folders, the ending of a volume format and nnU-Net's channel number (``_0000``) are taken off;
else the innermost of its folders that does, or the subject of a BIDS name (``sub-01_ses-01_dwi``).
A label behind a path (``ct.nii.gz 1``) is passed over.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from medssl_bench.digest import digest, file_digest
from medssl_bench.draws import split_digest
from medssl_bench.errors import BenchError, DataError, did_you_mean

if TYPE_CHECKING:
    from medssl_bench.task import Case, Task

Pool = Literal["train", "test"]
FORMAT = "medssl-bench split 1"
SIDES: dict[str, Pool] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    # Methods are compared on test cases alone, so what a list validates on may be learnt from.
    **dict.fromkeys(("val", "valid", "validation", "dev"), "train"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}
"""What a list calls a side, in lower case."""

ID_COLUMNS = ("case", "case_id", "id", "name", "subject", "patient")
"""How a table of more than two columns may head the ids, in any case."""


@dataclass(frozen=True)
class SplitFile:
    """Who is on which side according to one file, or to one file for each side."""

    paths: tuple[Path, ...]
    train: tuple[str, ...]
    test: tuple[str, ...]
    task: str | None = None
    """Known where the file was written by ``bench data split``."""

    @property
    def source(self) -> str:
        """Names of the files and the start of the digest of their bytes, for plan and record."""
        names = ", ".join(path.name for path in self.paths)
        return f"{names} (sha256 {digest([file_digest(path) for path in self.paths])[:12]})"

    @property
    def name(self) -> str:
        """How errors call it."""
        return ", ".join(str(path) for path in self.paths)


def parse_splits(words: Iterable[str], tasks: Sequence[str]) -> dict[str, SplitFile]:
    """Read what ``--split TASK=FILE[,FILE]`` or ``--split FILE[,FILE]`` names, by task.

    A file without a task in front belongs to the task that it names, else to the only one.

    Raises:
        BenchError: An unknown task, a file that cannot be read, or a task left open.
    """
    found: dict[str, SplitFile] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        if not equals or Path(word.split(",")[0]).expanduser().is_file():
            name, rest = "", word
        if name and name not in tasks:
            near = did_you_mean(name, tasks)
            raise BenchError(f"--split {word}: {name!r} is not among the tasks asked for.{near}")
        file = read_split([Path(part).expanduser() for part in rest.split(",")])
        owner = name or file.task or (tasks[0] if len(tasks) == 1 else "")
        if not owner:
            raise BenchError(f"--split {word}: of which task? write --split TASK={rest}")
        if owner not in tasks:
            raise BenchError(f"--split {word}: it is of task {owner}, which was not asked for")
        if owner in found:
            raise BenchError(f"--split {word}: {owner} has a split already; name both files in one")
        found[owner] = file
    return found


def read_split(paths: Sequence[Path]) -> SplitFile:
    """Read a split from one file, or from one text file for each side.

    Raises:
        BenchError: A file cannot be read, its sides are not clear, or one is empty.
    """
    task: str | None = None
    listed: dict[Pool, list[str]] = {"train": [], "test": []}
    for path in paths:
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BenchError(f"--split {path}: cannot be read: {reason}") from None
        if path.suffix == ".json":
            task, pairs = _of_json(path, text)
        elif (table := _of_table(path, text)) is not None:
            pairs = table
        else:
            side = _side_of_name(path)
            pairs = [(line.strip(), side) for line in text.splitlines() if line.strip()]
        for entry, side in pairs:
            listed[side].append(entry)
    file = SplitFile(tuple(paths), tuple(listed["train"]), tuple(listed["test"]), task)
    for side, entries in listed.items():
        if not entries:
            raise BenchError(
                f"--split {file.name}: no {side} case; give both lists, joined by a comma"
            )
    return file


def _of_json(path: Path, text: str) -> tuple[str | None, list[tuple[str, Pool]]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise BenchError(f"--split {path}: not JSON: {error}") from None
    sides = {key: SIDES[key.lower()] for key in document if key.lower() in SIDES} if isinstance(
        document, dict
    ) else {}  # fmt: skip
    if not sides or not all(isinstance(document[key], list) for key in sides):
        raise BenchError(f"--split {path}: expected lists under `train` and `test`")
    pairs = [(_entry(path, item), side) for key, side in sides.items() for item in document[key]]
    task = document.get("task")
    return (task if isinstance(task, str) else None), pairs


def _entry(path: Path, item: Any) -> str:
    """Return what names a case: a text, or the case, label or first image of an object."""
    if isinstance(item, dict):
        for key in ("case", "id", "label", "image"):
            if key in item:
                item = item[key]
                break
    if isinstance(item, list) and item:
        item = item[0]
    if isinstance(item, str | int) and str(item).strip():
        return str(item).strip()
    raise BenchError(f"--split {path}: {json.dumps(item)[:60]} names no case")


def _of_table(path: Path, text: str) -> list[tuple[str, Pool]] | None:
    """Read rows with a column of sides and one of ids; None where there is none of sides."""
    lines = [line for line in text.splitlines() if line.strip()]
    mark = next((mark for mark in ",;\t" if lines and mark in lines[0]), None)
    if mark is None:
        return None
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]

    def is_side(row: list[str], column: int) -> bool:
        return column < len(row) and row[column].lower() in SIDES

    for column in range(len(rows[0])):
        # The first row may be a header.
        if len(rows) > 1 and all(is_side(row, column) for row in rows[1:]):
            body = rows if is_side(rows[0], column) else rows[1:]
            ids = _column_of_ids(path, rows[0], column)
            return [(row[ids], SIDES[row[column].lower()]) for row in body]
    return None


def _column_of_ids(path: Path, first: Sequence[str], side: int) -> int:
    others = [column for column in range(len(first)) if column != side]
    if len(others) == 1:
        return others[0]
    named = [column for column in others if first[column].lower() in ID_COLUMNS]
    if len(named) != 1:
        raise BenchError(
            f"--split {path}: which column holds the ids? head it `case`, or leave two columns"
        )
    return named[0]


def _side_of_name(path: Path) -> Pool:
    words = [word for word in re.split(r"[^a-z]+", path.name.lower()) if word in SIDES]
    if len({SIDES[word] for word in words}) != 1:
        raise BenchError(
            f"--split {path}: on which side are its cases? a list of one side has train, val or"
            " test in its name; a table has a column with these words"
        )
    return SIDES[words[0]]


def apply_split(
    task: str, cases: Sequence[Case], file: SplitFile
) -> tuple[tuple[Case, ...], list[str]]:
    """Put cases on the sides that a file says, in their order; returns them and what was left out.

    Cases that the file does not list are left out, and so are listed ones that the data lack; both
    are told. Patients on both sides are :func:`medssl_bench.draws.check_split`'s to refuse.

    Raises:
        DataError: A case is on both sides, or the file names none of the cases.
    """
    ids: dict[str, list[str]] = {}
    patients: dict[str, list[str]] = {}
    for case in cases:
        ids.setdefault(case.id.lower(), []).append(case.id)
        patients.setdefault(case.group.lower(), []).append(case.id)
    sides: dict[str, Pool] = {}
    lacking: dict[Pool, list[str]] = {"train": [], "test": []}
    both: list[tuple[str, Pool]] = [
        *((entry, "train") for entry in file.train),
        *((entry, "test") for entry in file.test),
    ]
    for entry, side in both:
        named = next((known[name] for name in _names(entry) for known in (ids, patients)
                      if name in known), None)  # fmt: skip
        if named is None:
            lacking[side].append(entry)
            continue
        for case_id in named:
            if sides.setdefault(case_id, side) != side:
                raise DataError(f"{task}: {file.name}: {case_id} is in both train and test")
    if not sides:
        near = did_you_mean(next(_names(file.train[0])), ids)
        raise DataError(
            f"{task}: {file.name}: none of its cases is in the data, {file.train[0]!r} for one."
            f"{near}"
        )
    kept = tuple(replace(case, pool=sides[case.id]) for case in cases if case.id in sides)
    notes = []
    listed = {"train": len(file.train), "test": len(file.test)}
    for side, entries in lacking.items():
        if entries:
            names = ", ".join(PurePosixPath(entry.replace("\\", "/")).name for entry in entries)
            notes.append(
                f"{len(entries)} of {listed[side]} {side} cases that the split lists are not in"
                f" the data: {names}"
            )
    unlisted = [case.id for case in cases if case.id not in sides]
    if unlisted:
        notes.append(f"left out, for the split does not list them: {_shown(unlisted)}")
    return kept, notes


def _names(entry: str) -> Iterator[str]:
    """Yield what an entry may call its case, in lower case, the likeliest first."""
    from medssl_bench.tasks.layout import stem

    text = entry.replace("\\", "/").rstrip("/").lower()
    folders: list[str] = []
    for path in dict.fromkeys((text, re.sub(r"\s+[0-9]+$", "", text))):
        *folders, name = PurePosixPath(path).parts or (path,)
        last = stem(name)
        yield last
        yield re.sub(r"_[0-9]{4}$", "", last)
    yield from reversed(folders)
    # BIDS: the subject of sub-x_ses-y_z.
    yield from (match[0] for one in (last, *folders) if (match := re.match("sub-[^_]+(?=_)", one)))


def _shown(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def rule_of(task: Task) -> str:
    """Say by which rule a task splits itself."""
    rule = getattr(task, "split", None)
    if rule is None:
        return "the task's own"
    said = rule.model_dump(mode="json", exclude_none=True)
    if any(isinstance(value, list) for value in said.values()):
        said.pop("seed", None)  # lists need none
    told = ", ".join(
        f"{len(value)} {name} listed" if isinstance(value, list) else f"{name} {value}"
        for name, value in said.items()
    )
    return f"the task's own, {type(rule).__name__}: {told}"


def split_document(task: Task, cases: Sequence[Case], source: str) -> Mapping[str, Any]:
    """Return the resolved split as ``bench data split`` writes it."""
    train, test = (
        [case for case in cases if case.pool == pool] for pool in ("train", "test")
    )  # fmt: skip
    return {
        "format": FORMAT,
        "task": task.name,
        "version": task.version,
        "rule": source,
        "digest": split_digest([case.id for case in train], [case.id for case in test]),
        "train": [{"case": case.id, "patient": case.group} for case in train],
        "test": [{"case": case.id, "patient": case.group} for case in test],
    }
