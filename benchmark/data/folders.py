"""Listing folders: what may not be listed is never passed over in silence.

``Path.glob`` and ``os.walk`` leave out a folder without read permission and say nothing, which
makes another dataset of the rest.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

from medssl_bench.data.faulty import CLOSED
from medssl_bench.errors import DataError


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none where it is no folder.

    Raises:
        DataError: It may not be listed or entered.
    """
    try:
        return sorted(_names(folder))
    except PermissionError:
        raise DataError(f"{folder}: {CLOSED}") from None


def walk(
    root: Path, closed: list[Path] | None = None, *, links: bool = False
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk as ``os.walk``, hidden folders left out; names are sorted.

    Args:
        root: Where to begin.
        closed: Takes the folders that may not be listed.
        links: Go into links to folders, each folder once.

    Raises:
        DataError: A folder may not be listed, and ``closed`` was not given.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):
            _refuse(Path(error.filename), closed)

    seen: set[str] = set()
    for name, folders, files in os.walk(root, onerror=refuse, followlinks=links):
        real = os.path.realpath(name)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        yield Path(name), folders, sorted(files)


def match(base: Path, pattern: str, closed: list[Path] | None = None) -> list[Path]:
    """Return what matches a pattern below ``base``, as ``Path.glob`` does, hidden names left out.

    Args:
        base: Where the pattern begins.
        pattern: Parts with ``*``, ``?`` and ``[...]``; ``**`` is any folders, links not followed.
        closed: Takes the folders that may not be listed.

    Raises:
        DataError: A folder may not be listed, and ``closed`` was not given.
    """
    refused: list[Path] = []
    found = sorted({*_matching(base, Path(pattern).parts, refused)})
    for folder in sorted({_outermost(one) for one in refused}):
        _refuse(folder, closed)
    return found


def _matching(base: Path, parts: tuple[str, ...], refused: list[Path]) -> Iterator[Path]:
    if not parts:
        yield base
        return
    part, *rest = parts
    if part == "**":
        for folder, _, _ in walk(base, refused):
            yield from _matching(folder, tuple(rest), refused)
    elif not re.search(r"[*?[]", part):
        try:
            if rest or (base / part).exists():
                yield from _matching(base / part, tuple(rest), refused)
        except PermissionError:
            refused.append(base)
    else:
        try:
            names = _names(base)
        except PermissionError:
            refused.append(base)
            return
        wanted = re.compile(fnmatch.translate(part))
        for name in names:
            if not name.startswith(".") and wanted.match(name):
                yield from _matching(base / name, tuple(rest), refused)


def _names(folder: Path) -> list[str]:
    """List a folder, which must be one whose files may be opened, too."""
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    if not _may_enter(folder):
        raise PermissionError
    return names


def _may_enter(folder: Path) -> bool:
    return os.access(folder, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _outermost(folder: Path) -> Path:
    """Return the folder that keeps this one from being seen; itself if its parent does not."""
    while not _may_enter(folder.parent):
        folder = folder.parent
    return folder


def _refuse(folder: Path, closed: list[Path] | None) -> None:
    if closed is None:
        raise DataError(f"{folder}: {CLOSED}")
    if folder not in closed:
        closed.append(folder)
