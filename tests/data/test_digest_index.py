"""Digests remembered on disk."""

import hashlib
import os
from pathlib import Path

import pytest

from medssl_bench.data.digest_index import NAME, DigestIndex


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "scan"
    file.write_bytes(b"one")
    index = DigestIndex()
    index.use(tmp_path / "cache")
    assert index.digest(file) == hashlib.sha256(b"one").hexdigest()

    other = DigestIndex()
    other.use(tmp_path / "cache")
    status = file.stat()
    file.write_bytes(b"two")  # same size; the time is put back, so only the index can answer
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert other.digest(file) == hashlib.sha256(b"one").hexdigest()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert other.digest(file) == hashlib.sha256(b"two").hexdigest()


def test_a_line_half_written_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "scan"
    file.write_bytes(b"one")
    index = DigestIndex()
    index.use(tmp_path)
    index.digest(file)
    with (tmp_path / NAME).open("a") as stream:
        stream.write('["half')
    again = DigestIndex()
    again.use(tmp_path)
    assert again.digest(file) == index.digest(file)


def test_the_index_stays_where_it_was_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    file = tmp_path / "scan"
    file.write_bytes(b"one")
    monkeypatch.chdir(tmp_path / "first")
    index = DigestIndex()
    index.use(Path("cache"))
    monkeypatch.chdir(tmp_path / "second")
    index.digest(file)
    assert [*tmp_path.rglob(NAME)] == [tmp_path / "first/cache" / NAME]
