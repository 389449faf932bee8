"""Finding the volumes of a user's own tree: a folder or a pattern gives ids and paths."""

from __future__ import annotations

import re
from pathlib import Path

from medssl_bench.data.reading import EXTENSIONS, find_volumes
from medssl_bench.errors import DataError


def stem(name: str) -> str:
    """Return a file's name without the ending of its volume format."""
    endings = [ending for ending in EXTENSIONS if name.lower().endswith(ending)]
    return name[: -len(max(endings, key=len))] if endings else name


def list_volumes(base: Path, where: str, *, any_case: bool = False) -> dict[str, Path]:
    """Return id -> path for a folder or a pattern, relative to ``base`` unless absolute.

    In a folder, an id is a file's name without its ending (for DICOM, the name of the series'
    folder). In a pattern (``*``, ``?``, ``**``), it is what ``{id}`` stands for, else the first
    part of the path that has a wildcard: ``*/ct.nii.gz`` gives ``case1`` for ``case1/ct.nii.gz``.
    Names that begin with a dot are ignored. With ``any_case``, letters of a pattern may be large or
    small.

    Raises:
        DataError: two volumes have one id.
    """
    folder = base / where
    if folder.is_dir():
        pairs = [(stem(path.name), path) for path in find_volumes(folder)]
    else:
        pairs = _match(base, where, any_case)
    found: dict[str, Path] = {}
    for name, path in sorted(pairs):
        if name in found:
            raise DataError(
                f"{found[name]} and {path} have the same id {name!r};"
                f" mark the part of the path that tells cases apart with {{id}}"
            )
        found[name] = path
    return found


def _match(base: Path, pattern: str, any_case: bool) -> list[tuple[str, Path]]:
    if Path(pattern).is_absolute():
        base = Path(Path(pattern).anchor)
        pattern = Path(pattern).relative_to(base).as_posix()
    wild = pattern.replace("[", "[[]").replace("{id}", "*")
    if any_case:
        wild = re.sub("[A-Za-z]", lambda letter: f"[{letter[0].lower()}{letter[0].upper()}]", wild)
    paths = [path for path in base.glob(wild) if not _is_hidden(path.relative_to(base))]
    if pattern.endswith("*"):  # which also finds what a download left: .part, .md5
        paths = [p for p in paths if p.is_dir() or p.name.lower().endswith(EXTENSIONS)]
    if "{id}" in pattern:
        wanted = re.compile(expression(pattern).pattern, re.IGNORECASE if any_case else 0)
        matches = ((wanted.fullmatch(path.relative_to(base).as_posix()), path) for path in paths)
        return [(match["id"], path) for match, path in matches if match]
    parts = Path(pattern).parts
    first = next((index for index, part in enumerate(parts) if re.search(r"[*?]", part)), -1)
    if first >= 0 and parts[first] == "**":
        first = -1
    return [(stem(path.relative_to(base).parts[first]), path) for path in paths]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


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
    match = re.search(pattern, name)
    if match is None:
        raise DataError(f"`patient: {pattern}` does not match {name!r}")
    return match[1] if match.re.groups else match[0]


def is_expression(value: str | None) -> str | None:
    """Return a regular expression as it is; raises ValueError where it is none."""
    try:
        re.compile(value or "")
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return value
