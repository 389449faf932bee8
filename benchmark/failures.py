"""Why work failed: the class of a fault, what to do about it, and the file that keeps both.

::

    failures/<unit>.txt    the unit's title
                           key: cell-3fa9...
                           class: oom
                           host: node07
                           job: 4711_3            only under SLURM
                           time: 2026-01-31T12:00:00+00:00
                           (empty line)
                           the reason, in one line
                           (empty line)
                           the traceback, where there is one

A file stays until its unit is recorded. It is named by title and key: units of one title may differ
in a seed or a size. Once a faulty case is repaired the same unit has another key, so recording a
unit also removes what is said of faulty data under its title.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medssl_bench.durable import temporary_name, write_durably
from medssl_bench.errors import (
    BenchError,
    CaseError,
    DamagedError,
    DataError,
    DivergedError,
    FaultyDataError,
    MemoryShortageError,
)
from medssl_bench.record import utc_now

FailureClass = Literal["oom", "time", "node", "disk", "data", "nan", "bug"]

ADVICE: dict[FailureClass, str] = {
    "oom": "out of memory: a smaller batch or crop, a GPU with more memory, or more `memory_gb`",
    "time": "the time limit was reached: retry, it goes on from its checkpoint; or more `minutes`",
    "node": "the machine failed, not the work: retry; `exclude` the node where it happens again",
    "disk": "the results or cache disk refused or damaged a file: make room (quota?), then retry",
    "data": "a file is faulty: `bench data verify` says which; repair it, then run again",
    "nan": "training diverged: a lower learning rate, `clip_gradient` or precision 32-true",
    "bug": "of no known kind: read the log, and report it where the fault is not your own",
}
"""What to do about each class."""

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|_ALLOC_FAILED", re.IGNORECASE
)
_BROKEN_MACHINE = re.compile(
    r"\bECC\b|fallen off the bus|no CUDA-capable device|all CUDA-capable devices are busy"
    r"|CUDA driver|CUDA error: unknown error|CUDA-capable device\(s\) is/are busy|NVML"
    r"|connection (closed|reset) by peer|NCCL.*(remote|system|timeout)",
    re.IGNORECASE,
)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_MACHINE = {errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENODEV, errno.EHOSTDOWN}

_STATES: dict[str, FailureClass] = {
    "OUT_OF_MEMORY": "oom",
    "TIMEOUT": "time",
    "DEADLINE": "time",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "LAUNCH_FAILED": "node",
    "RECONFIG_FAIL": "node",
    "FAILED": "bug",
}


@dataclass(frozen=True)
class FailureNote:
    """What the file of a failure says."""

    unit: str
    key: str
    """Name of the unit, ``cell-<key>`` or alike; empty: not said."""
    kind: FailureClass
    host: str
    job: str | None
    """Id of the SLURM job, ``4711`` or ``4711_3``."""
    time: str
    """ISO 8601, UTC."""
    reason: str
    """One line."""
    trace: str
    """The traceback; empty where the reason says all."""
    path: Path

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        return ADVICE[self.kind]


def classify(error: BaseException) -> FailureClass:
    """Tell the class of an error from its kind, from what caused it, and from its words.

    A file that cannot be read because its disk or machine failed is no fault of the file.
    """
    found = [kind for one in _causes(error) if (kind := _class_of(one)) is not None]
    return next((kind for kind in found if kind != "data"), "data" if found else "bug")


def classify_state(state: str) -> FailureClass | None:
    """Tell the class of a state of SLURM, such as ``TIMEOUT`` or ``CANCELLED by 1000``.

    None where the job has not failed: it waits, runs, is done, was cancelled, or was preempted.
    """
    return _STATES.get(state.split()[0].rstrip("+").upper()) if state.strip() else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, or while handling; ``from None`` hides none."""
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__


def _class_of(error: BaseException) -> FailureClass | None:
    if isinstance(error, TimeoutError):
        return "time"
    if isinstance(error, MemoryError | MemoryShortageError):
        return "oom"
    if isinstance(error, DivergedError):
        return "nan"
    if isinstance(error, DamagedError) or isinstance(error, OSError) and error.errno in _DISK:
        return "disk"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "oom"
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return "node"
    if isinstance(error, DataError | FaultyDataError):
        return "data"
    if isinstance(error, RuntimeError):  # torch.OutOfMemoryError and torch.AcceleratorError are
        if _OUT_OF_MEMORY.search(str(error)):
            return "oom"
        if _BROKEN_MACHINE.search(str(error)):
            return "node"
    return None


def failure_path(root: Path, unit: str, key: str = "") -> Path:
    """Where the reason of a unit's latest failure is kept until the unit is recorded."""
    digits = key.rpartition("-")[2][:8]
    return root / "failures" / f"{_stem(unit)}{f'.{digits}' if digits else ''}.txt"


def _stem(unit: str) -> str:
    return re.sub(r"[^A-Za-z0-9%-]+", "_", unit)[:150]


def note_failure(root: Path, unit: str, error: BaseException, key: str = "") -> FailureNote:
    """Write down why a unit failed, in place of what was said of it before.

    A disk that is full keeps the note from being written, not from being returned.
    """
    if isinstance(error, CaseError | BenchError):
        return write_failure(root, unit, classify(error), str(error), key=key)
    reason = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    return write_failure(root, unit, classify(error), reason, trace, key)


def write_failure(
    root: Path, unit: str, kind: FailureClass, reason: str, trace: str = "", key: str = ""
) -> FailureNote:
    """Write the file of a failure, whole or not at all; see :func:`note_failure`."""
    note = FailureNote(
        unit=unit,
        key=key,
        kind=kind,
        host=socket.gethostname(),
        job=slurm_job(),
        time=utc_now().isoformat(timespec="seconds"),
        reason=(reason.strip().splitlines() or ["unknown"])[0],
        trace=trace.strip(),
        path=failure_path(root, unit, key),
    )
    head = [f"class: {note.kind}", f"host: {note.host}", f"time: {note.time}"]
    if note.job is not None:
        head.insert(2, f"job: {note.job}")
    if key:
        head.insert(0, f"key: {key}")
    text = "\n".join([unit, *head, "", note.reason, *(["", note.trace] if note.trace else []), ""])
    temporary = temporary_name(note.path)
    with suppress(OSError):
        note.path.parent.mkdir(exist_ok=True)
        try:
            write_durably(temporary, text.encode())
            temporary.replace(note.path)
        finally:
            temporary.unlink(missing_ok=True)
    return note


def forget_failure(root: Path, unit: str, key: str = "") -> None:
    """Remove what is said of a unit that is recorded now."""
    for path in (root / "failures").glob(f"{_stem(unit)}.*txt"):
        note = read_failure(path)
        if note is None or note.unit != unit:
            continue
        if note.key in ("", key) or note.kind == "data":
            path.unlink(missing_ok=True)


def read_failures(root: Path) -> list[FailureNote]:
    """Read what failed in a results folder, by name of the file."""
    found = (read_failure(path) for path in sorted((root / "failures").glob("[!.]*.txt")))
    return [note for note in found if note is not None]


def read_failure(path: Path) -> FailureNote | None:
    """Read one file; None where it is gone by now. One without a class is of class ``bug``."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    unit, rest = (lines[0], lines[1:]) if lines else (path.stem, [])
    head: dict[str, str] = {}
    while rest and (match := re.fullmatch(r"(key|class|host|job|time): (.*)", rest[0])):
        head[match[1]] = match[2]
        rest = rest[1:]
    named = head.get("class")
    kind: FailureClass = next((name for name in ADVICE if name == named), "bug")
    reason, _, trace = "\n".join(rest).strip().partition("\n")
    return FailureNote(
        unit=unit,
        key=head.get("key", ""),
        kind=kind,
        host=head.get("host", ""),
        job=head.get("job"),
        time=head.get("time", ""),
        reason=reason or "unknown",
        trace=trace.strip(),
        path=path,
    )


def slurm_job() -> str | None:
    """Id of the SLURM job that this process is part of, as ``squeue`` shows it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array is not None and task is not None:
        return f"{array}_{task}"
    return os.environ.get("SLURM_JOB_ID")
