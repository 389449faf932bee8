"""Digests of big files, remembered on disk for as long as a file's size and time stay.

Keys of results need the digest of every scan; reading terabytes again for every command would not
do. Like git and make, this trusts size and modification time (nanoseconds) of a path.
"""

from __future__ import annotations

import json
from pathlib import Path

from medssl_bench.digest import file_digest

NAME = "digests.jsonl"


class DigestIndex:
    """``path, size, time -> SHA-256``, appended to one file that processes may share."""

    def __init__(self) -> None:
        """Remember in memory only, until :meth:`use` names a folder."""
        self._path: Path | None = None
        self._known: dict[tuple[str, int, int], str] = {}

    def use(self, folder: Path) -> None:
        """Keep the index in this folder (the cache's) from now on."""
        path = folder.absolute() / NAME  # a later change of the working folder must not move it
        if path == self._path:
            return
        self._path = path
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                try:
                    name, size, modified, sha256 = json.loads(line)
                except ValueError:
                    continue  # a line half written by a killed process; the file is read again
                self._known[name, size, modified] = sha256

    def digest(self, file: Path) -> str:
        """Return the SHA-256 of a file's bytes."""
        status = file.stat()
        key = (str(file.absolute()), status.st_size, status.st_mtime_ns)
        if key not in self._known:
            self._known[key] = file_digest(file)
            self._append([*key, self._known[key]])
        return self._known[key]

    def _append(self, row: list[object]) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError:
            self._path = None  # only speed is lost; whoever writes results meets the same fault


INDEX = DigestIndex()
