"""What is looked at before anything starts: headers of every case, disk and results folder.

Voxels are not read here; labels with unknown ids, NaN and truncated files come out in preparation.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medssl_bench.errors import BenchError, DataError

if TYPE_CHECKING:
    from medssl_bench.data.volume import Header, Source
    from medssl_bench.task import Case, Corpus, Task

AFFINE_TOLERANCE_MM = 0.1
"""Farthest a corner of the label may lie from the image's before it is worth a warning."""

ENOUGH_COVERED = 0.5
"""Share of the ruling grid below which a channel resampled onto it is worth a warning."""


@dataclass(frozen=True)
class Finding:
    """Something seen in a case; an ``error`` stops the run, a ``warning`` does not.

    A ``note`` is worth knowing and no fault.
    """

    level: Literal["error", "warning", "note"]
    case: str
    file: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.case, self.file, self.message) if part)


def check_cases(cases: Sequence[Case], task: Task | Corpus) -> list[Finding]:
    """Read the headers of all cases in parallel; return what is wrong, in the order of cases.

    An error: a file that is missing or whose header cannot be read, a channel the task needs and
    the case lacks, channels or a label of another shape, a channel that lies a voxel or more from
    the first. What is wrong with one file is said once, whatever else of the case depends on it. A
    warning: geometry of channel or label that differs from the first channel's by more than 0.1 mm
    (the image's is used). Where others are resampled onto the grid of one channel, only the label
    is compared with it; a channel that does not reach it is an error, one that covers less than
    half of it a warning.
    """
    workers = min(16, 4 * (os.cpu_count() or 1))
    with ThreadPoolExecutor(workers, thread_name_prefix="headers") as pool:
        found = pool.map(lambda case: _check_case(case, task), cases)
        return [finding for findings in found for finding in findings]


def doubts_of(case: Case, cases: Sequence[Case], task: Task | Corpus) -> list[Finding]:
    """Return what makes one doubt a case whose files can be read.

    That is what its headers warn of, and a label or image whose bytes are those of another case.
    """
    from medssl_bench.data.reading import FileSource

    found = [one for one in check_cases([case], task) if one.level == "warning"]
    for part, source in (*case.images.items(), ("label", case.label)):
        if not isinstance(source, FileSource) or not source.path.is_file():
            continue
        size = source.path.stat().st_size
        for other in cases:
            twin = other.label if part == "label" else other.images.get(part)
            if other.id == case.id or not isinstance(twin, FileSource):
                continue
            alike = twin.path.is_file() and twin.path.stat().st_size == size
            if alike and twin.path.read_bytes() == source.path.read_bytes():
                message = f"the same bytes as {twin.path}, the {part} of {other.id}"
                found.append(Finding("warning", case.id, str(source.path), message))
    return found


def listing_faults(cases: Sequence[Case]) -> list[Finding]:
    """Return what was wrong in listing the cases; no file is opened."""
    from medssl_bench.data.faulty import FaultySource

    return [
        Finding("error", case.id, str(source.path), source.message)
        for case in cases
        for source in dict.fromkeys(
            one for one in (*case.images.values(), case.label) if isinstance(one, FaultySource)
        )
    ]


def faulty_cases(cases: Sequence[Case], task: Task | Corpus) -> dict[str, str]:
    """Read the headers of all cases; return what stops each faulty one, by its id."""
    faults: dict[str, list[str]] = {}
    for one in check_cases(cases, task):
        if one.level == "error":
            told = ": ".join(part for part in (one.file, one.message) if part)
            faults.setdefault(one.case, []).append(told)
    return {case: "; ".join(told) for case, told in faults.items()}


def raise_errors(findings: Sequence[Finding], task: str) -> list[Finding]:
    """Return the warnings; raise DataError with the first error and how many more there are."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise DataError(f"{task}: case {errors[0]}{more}")
    return [finding for finding in findings if finding.level == "warning"]


def _check_case(case: Case, owner: Task | Corpus) -> list[Finding]:
    from medssl_bench.data.regrid import corner_distance
    from medssl_bench.preparation import rules
    from medssl_bench.task import Task

    try:
        rule, words = rules(owner, case)
    except DataError as error:
        return [Finding("error", case.id, "", str(error))]
    findings = [
        Finding("error", case.id, channel, f"channel {channel!r} is missing")
        for channel in words["channels"]
        if channel not in case.images
    ]
    parts: dict[str, Source] = dict(case.images)
    if rule.grid in parts:
        parts = {rule.grid: parts[rule.grid]} | parts
    if case.label is not None:
        parts["label"] = case.label
    for source in case.images.values():
        if getattr(source, "series", None) is not None:
            message = "one of several DICOM series in this folder, each of which is a case"
            findings.append(Finding("note", case.id, name_of(source), message))
    first: tuple[str, Header] | None = None
    told: set[str] = set()
    misfits: dict[str, tuple[str, Header]] = {}
    for name, source in parts.items():
        file = name_of(source)
        try:
            header = source.header()
        except DataError as error:
            if str(error) not in told:
                message = str(error).replace(f"{file}: ", "", 1)
                findings.append(Finding("error", case.id, file, message))
            told.add(str(error))
            continue
        if first is None:
            first = name, header
        elif rule.grid is not None and name != "label":
            findings += _check_reach(case.id, file, name, header, *first)
        elif header.shape != first[1].shape:
            misfits[name] = file, header
        elif name != "label" and corner_distance(header, first[1]) >= min(first[1].spacing):
            misfits[name] = file, header
        else:
            findings += _compare(case.id, file, name, header, *first)
    if first is not None and misfits:
        asked = f"`grid: {first[0]}`" if isinstance(owner, Task) else f"{owner.name}:{first[0]}"
        shapes = [
            f"{name} has shape {_times(header.shape)}, {first[0]} has {_times(first[1].shape)}"
            if header.shape != first[1].shape
            else f"{name} lies up to {corner_distance(header, first[1]):.1f} mm from {first[0]}"
            for name, (_, header) in misfits.items()
        ]
        message = (
            f"{', '.join(shapes)}; export them on one grid, or ask for a grid: {asked}"
            " (docs/add-a-task.md)"
        )
        findings.append(Finding("error", case.id, next(iter(misfits.values()))[0], message))
    return findings


def _compare(
    case: str, file: str, name: str, header: Header, first_name: str, first: Header
) -> list[Finding]:
    from medssl_bench.data.regrid import corner_distance

    apart = corner_distance(header, first)
    if apart > AFFINE_TOLERANCE_MM:
        message = (
            f"the affines of {name} and {first_name} differ by up to {apart:.1f} mm;"
            f" that of {first_name} is used"
        )
        return [Finding("warning", case, file, message)]
    return []


def _check_reach(
    case: str, file: str, name: str, header: Header, first_name: str, first: Header
) -> list[Finding]:
    """See how much of the ruling grid a channel covers that is to be resampled onto it."""
    from medssl_bench.data.regrid import coverage

    share = coverage(first, header)
    if share >= ENOUGH_COVERED:
        return []
    if share == 0:
        message = f"{name} lies nowhere on the grid of {first_name}: are they of one scan?"
        return [Finding("error", case, file, message)]
    return [Finding("warning", case, file, f"{name} covers {share:.0%} of {first_name}'s grid")]


def _times(shape: tuple[int, int, int]) -> str:
    return "x".join(str(side) for side in shape)


def name_of(source: Source) -> str:
    """Return a source's path, or its kind where it has none."""
    return str(getattr(source, "path", type(source).__name__))


def check_disk(folder: Path, need_bytes: int) -> None:
    """Refuse to start where the disk of ``folder`` (it need not exist yet) is too full.

    Raises:
        BenchError: with what is needed, what is free, and where.
    """
    free = shutil.disk_usage(nearest_existing(folder)).free
    if free < need_bytes:
        raise BenchError(
            f"{folder}: {need_bytes / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free;"
            f" make room or choose another folder"
        )


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written (tried with a file; nothing is left behind).

    Raises:
        BenchError: naming the folder and the reason.
    """
    ground = nearest_existing(folder)
    try:
        with tempfile.TemporaryFile(dir=ground):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        at = "" if ground == folder.absolute() else f" in {ground}"
        raise BenchError(f"{folder}: cannot write{at} ({reason}); choose another folder") from error


def nearest_existing(folder: Path) -> Path:
    """Return ``folder`` or its nearest parent that exists, as far as may be seen."""
    for path in (folder.absolute(), *folder.absolute().parents):
        try:
            if path.exists():
                return path
        except PermissionError:
            continue
    return Path(folder.absolute().anchor)
