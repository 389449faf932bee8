"""Digests remembered on disk."""

import hashlib
import os
from pathlib import Path

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
