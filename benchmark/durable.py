"""Files and folders that are there whole or not at all, whatever kills the writer."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from medssl_bench.errors import BenchError, CaseError

SUMS = "SHA256SUMS"
"""Checksums of the other files of a published folder, as ``sha256sum --check`` reads them."""

LEFTOVER_AGE = 3600.0
"""Seconds after which a temporary folder of a killed writer is removed by the next one."""

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


def temporary_name(path: Path) -> Path:
    """Return a fresh hidden name beside ``path``, on the same file system."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex}"


def publish_folder(final: Path, fill: Callable[[Path], None], *, sealed: bool = False) -> bool:
    """Fill a temporary folder beside ``final``, add checksums, and rename it into place.

    With ``sealed`` it brings its checksums along. The first writer wins: returns False, and changes
    nothing, where ``final`` exists already.
    Raises CaseError where the disk refuses.
    """
    temporary = temporary_name(final)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            return False
        temporary.mkdir()
        _remove_leftovers(final, now=temporary.stat().st_mtime)
        fill(temporary)
        if not sealed:
            _seal(temporary)
        return _rename_new(temporary, final)
    except OSError as error:
        raise CaseError(f"{final}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_leftovers(final: Path, now: float) -> None:
    for entry in os.scandir(final.parent):
        if not entry.name.startswith(f".{final.name}."):
            continue
        try:
            age = now - entry.stat().st_mtime
        except FileNotFoundError:
            continue
        if age > LEFTOVER_AGE:
            shutil.rmtree(entry.path, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Write the checksums and bring every file and folder to the disk."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        lines.append(f"{found}  {path.relative_to(folder).as_posix()}\n")
    write_durably(folder / SUMS, "".join(lines).encode())
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sync_folder(path)


def _rename_new(temporary: Path, final: Path) -> bool:
    """Rename; a folder that is not empty is never replaced, which rename itself guarantees."""
    try:
        temporary.rename(final)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            return False
        raise
    sync_folder(final.parent)
    return True


def read_sums(folder: Path) -> frozenset[bytes]:
    """Return the lines of a published folder's checksums; raises BenchError where it has none."""
    return frozenset(_read(folder, SUMS).splitlines())


def read_verified(folder: Path, name: str, sums: frozenset[bytes] | None = None) -> bytes:
    """Read a file of a published folder; raises BenchError where its checksum does not match.

    ``sums``: of :func:`read_sums`, where several files of the folder are read.
    """
    content = _read(folder, name)
    found = f"{hashlib.sha256(content).hexdigest()}  {name}".encode()
    if found not in (read_sums(folder) if sums is None else sums):
        raise damaged(folder, f"{name} is not as it was written")
    return content


def _read(folder: Path, name: str) -> bytes:
    try:
        # Thousands are read at a time: a Path for each, and a buffer, take longer than reading it.
        with open(f"{folder}/{name}", "rb", buffering=0) as stream:  # noqa: PTH123
            return stream.read()
    except OSError as error:
        raise damaged(folder, f"{error.filename}: {error.strerror}") from None


def damaged(folder: Path, why: str) -> BenchError:
    """Return the error for a published folder that cannot be trusted."""
    return BenchError(f"{folder}: damaged ({why}); remove this folder to have it made again")


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it; readers may see it half-written."""
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's names, where its file system can say so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def create_once(path: Path, content: bytes) -> bool:
    """Create a file with its whole content; returns False where the name is taken.

    A link is atomic on network file systems too, where its answer may get lost: a link count of
    two tells that it was made. File systems without links get an exclusive create, whose content
    may be seen half-written for a moment.
    """
    temporary = temporary_name(path)
    try:
        write_durably(temporary, content)
        try:
            os.link(temporary, path)
        except OSError as error:
            if temporary.stat().st_nlink == 2:
                return True
            if error.errno == errno.EEXIST:
                return False
            if error.errno not in _NO_LINKS:
                raise
            return _create_exclusively(path, content)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _create_exclusively(path: Path, content: bytes) -> bool:
    try:
        write_durably(path, content)
    except FileExistsError:
        return False
    return True
