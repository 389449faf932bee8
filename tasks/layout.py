"""Finding the volumes of a user's own tree: a folder or a pattern gives ids and paths."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medssl_bench.data.faulty import FaultySource
from medssl_bench.data.folders import match
from medssl_bench.data.reading import EXTENSIONS, FileSource, find_volumes
from medssl_bench.data.volume import Source
from medssl_bench.errors import DataError


def stem(name: str) -> str:
    """Return a file's name without the ending of its volume format."""
    endings = [ending for ending in EXTENSIONS if name.lower().endswith(ending)]
    return name[: -len(max(endings, key=len))] if endings else name


@dataclass(frozen=True)
class Listing:
    """The volumes of a folder or pattern by id, and what is wrong with what lies there."""

    paths: dict[str, Path]
    """Of two volumes with one id, the first."""
    twice: dict[str, Path]
    """Id -> the second volume that has it."""
    closed: tuple[Path, ...]
    """Folders and files that may not be read, so that what they hold is not known."""

    def sources(
        self,
        make: Callable[[Path], Source] = FileSource,
        advice: str = "remove one of them",
    ) -> dict[str, Source]:
        """Return the volumes; one whose id is there twice is faulty, with ``advice`` behind it."""
        return {
            name: FaultySource(path, f"{self.twice[name]} has the same id {name!r}; {advice}")
            if name in self.twice
            else make(path)
            for name, path in self.paths.items()
        }

    def renamed(self, name_of: Callable[[str], str | None]) -> Listing:
        """Return the volumes under other ids; those whose id becomes None are left out."""
        names = {name: new for name in self.paths if (new := name_of(name)) is not None}
        return Listing(
            {new: self.paths[name] for name, new in names.items()},
            {new: self.twice[name] for name, new in names.items() if name in self.twice},
            self.closed,
        )


def list_volumes(base: Path, where: str, *, any_case: bool = False) -> Listing:
    """Return id -> path for a folder or a pattern, relative to ``base`` unless absolute.

    In a folder, an id is a file's name without its ending (for DICOM, the name of the series'
    folder). In a pattern (``*``, ``?``, ``**``), it is what ``{id}`` stands for, else the first
    part of the path that has a wildcard: ``*/ct.nii.gz`` gives ``case1`` for ``case1/ct.nii.gz``.
    Names that begin with a dot are ignored. With ``any_case``, letters of a pattern may be large or
    small.
    """
    closed: list[Path] = []
    try:
        is_folder = (base / where).is_dir()
    except PermissionError:
        return Listing({}, {}, ((base / where).parent,))
    if is_folder:
        pairs = [(stem(path.name), path) for path in find_volumes(base / where, closed)]
    else:
        pairs = _match(base, where, any_case, closed)
    found: dict[str, Path] = {}
    twice: dict[str, Path] = {}
    for name, path in sorted(pairs):
        if found.setdefault(name, path) != path:
            twice.setdefault(name, path)
    return Listing(found, twice, tuple(closed))


def _match(base: Path, pattern: str, any_case: bool, closed: list[Path]) -> list[tuple[str, Path]]:
    if Path(pattern).is_absolute():
        base = Path(Path(pattern).anchor)
        pattern = Path(pattern).relative_to(base).as_posix()
    wild = pattern.replace("[", "[[]").replace("{id}", "*")
    if any_case:
        wild = re.sub("[A-Za-z]", lambda letter: f"[{letter[0].lower()}{letter[0].upper()}]", wild)
    paths = match(base, wild, closed)
    if pattern.endswith("*"):  # which also finds what a download left: .part, .md5
        paths = [p for p in paths if p.is_dir() or p.name.lower().endswith(EXTENSIONS)]
    if "{id}" in pattern:
        wanted = re.compile(expression(pattern).pattern, re.IGNORECASE if any_case else 0)
        fits = ((wanted.fullmatch(path.relative_to(base).as_posix()), path) for path in paths)
        return [(fit["id"], path) for fit, path in fits if fit]
    parts = Path(pattern).parts
    first = next((index for index, part in enumerate(parts) if re.search(r"[*?]", part)), -1)
    if first >= 0 and parts[first] == "**":
        first = -1
    return [(stem(path.relative_to(base).parts[first]), path) for path in paths]


def expression(pattern: str) -> re.Pattern[str]:
    """Return what matches the whole of a path; ``**`` is any folders, ``*`` a part of one name."""
    text, named = "", False
    for token in re.split(r"(\{id\}|\*\*/|\*\*|\*|\?)", pattern):
        match token:
            case "{id}":
                text += r"(?P=id)" if named else r"(?P<id>[^/]+)"
                named = True
            case "**/":
                text += r"(?:.*/)?"
            case "**":
                text += r".*"
            case "*":
                text += r"[^/]*"
            case "?":
                text += r"[^/]"
            case _:
                text += re.escape(token)
    return re.compile(text)


def first_group(pattern: str | None, name: str) -> str:
    """Return what a `patient` expression finds in a name; without one, the name itself.

    Raises:
        DataError: the expression finds nothing.
    """
    if pattern is None:
        return name
    found = re.search(pattern, name)
    if found is None:
        raise DataError(f"`patient: {pattern}` does not match {name!r}")
    return found[1] if found.re.groups else found[0]


def is_expression(value: str | None) -> str | None:
    """Return a regular expression as it is; raises ValueError where it is none."""
    try:
        re.compile(value or "")
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return value
