"""The one file that is handed in: a zip with a manifest, the same bytes for the same records.

Members are stored, never compressed: nothing in it can be larger than the file itself, and the same
records give the same bytes whatever zlib is installed. A bundle is read only if writing its content
again gives the very same file, so no byte of it can differ unnoticed.
"""

from __future__ import annotations

import filecmp
import hashlib
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from medssl_bench.digest import file_digest
from medssl_bench.durable import temporary_name
from medssl_bench.errors import BenchError
from medssl_bench.records.layout import LARGEST_BUNDLE, MANIFEST, MOST_FILES, check_names
from medssl_bench.records.manifest import Manifest, parse_manifest

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNREADABLE = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError,
    OverflowError, struct.error,
)  # fmt: skip
"""What ``zipfile`` raises on damaged files."""


def write_bundle(out: Path, files: Mapping[str, Path | bytes]) -> str:
    """Write a bundle and return its SHA-256.

    ``files`` maps paths in the bundle to contents or to where they lie.

    Raises:
        BenchError: A name has no place in a bundle, it would be too large, or the disk refuses.
    """
    check_names(files)
    sizes = [len(file) if isinstance(file, bytes) else file.stat().st_size
             for file in files.values()]  # fmt: skip
    if sum(sizes) > LARGEST_BUNDLE or len(sizes) > MOST_FILES:
        raise BenchError(
            f"{out}: {len(sizes)} files of {sum(sizes):,} bytes are more than a bundle may hold;"
            " hand in task by task (--tasks)"
        )
    unfinished = temporary_name(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(unfinished, files)
        unfinished.replace(out)
    except OSError as error:
        raise BenchError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return file_digest(out)


def _write(out: Path, files: Mapping[str, Path | bytes]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            file = files[name]
            archive.writestr(info, file if isinstance(file, bytes) else file.read_bytes())


def read_bundle(path: Path, into: Path) -> Manifest:
    """Unpack a bundle into an empty folder, whole and as it was written, or not at all.

    Raises:
        BenchError: One line that says what is wrong with it.
    """
    if not path.is_file():
        raise BenchError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path.stat().st_size)
            manifest = parse_manifest(archive.read(MANIFEST))
            _unpack(archive, manifest, into)
    except _UNREADABLE as error:
        raise BenchError(f"{path}: not a sound zip file ({error}); get it again") from None
    except BenchError as error:
        raise BenchError(f"{path}: {error}") from None
    _check_bytes(path, into, manifest)
    return manifest


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Look at the table of contents before anything is read."""
    members = archive.infolist()
    if len(members) > MOST_FILES or size > LARGEST_BUNDLE:
        raise BenchError(f"{len(members)} files in {size:,} bytes are more than a bundle may hold")
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise BenchError(f"{member.filename!r} is a link; bundles hold plain files only")
    check_names([member.orig_filename for member in members])
    declared = sum(member.file_size for member in members)
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise BenchError(
                f"{member.filename!r} is compressed or encrypted and says it holds"
                f" {member.file_size:,} bytes; `bench submit` writes bundles that are not"
            )
    if declared > size:
        raise BenchError(f"declares {declared:,} bytes but has {size:,}")
    if MANIFEST not in archive.namelist():
        raise BenchError(f"no {MANIFEST} in it; `bench submit` writes bundles")


def _unpack(archive: zipfile.ZipFile, manifest: Manifest, into: Path) -> None:
    present = {*archive.namelist()} - {MANIFEST}
    for name in sorted({*manifest.files} ^ present):
        what = "is missing" if name in manifest.files else "is not in the manifest"
        raise BenchError(f"{name!r} {what}")
    for name in archive.namelist():
        content = archive.read(name)
        if name != MANIFEST:
            said = manifest.files[name]
            if len(content) != said.bytes or hashlib.sha256(content).hexdigest() != said.sha256:
                raise BenchError(f"{name!r} is not as it was written: its digest is another")
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _check_bytes(path: Path, into: Path, manifest: Manifest) -> None:
    """Refuse a file that is not what writing its content gives: nothing hides between members."""
    again = into / ".again"
    _write(again, {name: into / name for name in (*manifest.files, MANIFEST)})
    try:
        if not filecmp.cmp(path, again, shallow=False):
            raise BenchError(
                f"{path}: not as `bench submit` wrote it (other bytes around its files); get it"
                " again, or hand in again"
            )
    finally:
        again.unlink()
