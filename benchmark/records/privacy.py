"""Paths of the machine that a record was made on: found before it is published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_INSIDE = re.compile(
    r"""(?:^|(?<=[\s"'=,(:;\[]))"""
    r"""(?:/(?!/)[^\s"',;:()\[\]/]+(?:/[^\s"',;:()\[\]]+)+"""  # /srv/ann/scans
    r"""|file:/[^\s"']+|~[\w.-]*/[^\s"']+"""
    r"""|[A-Za-z]:\\[^\s"']+|[A-Za-z]:/(?!/)[^\s"']+|\\\\[^\s"']+)"""  # C:\scans, \\server\scans
)
_WHOLE = re.compile(r"(?:\w+:|\w+=)?/[^\s/]+/?")
"""A text that is nothing but a folder below the root, such as ``folder:/scans``."""


def absolute_paths(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield field and path for every absolute path in a JSON-like value, keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = f"{field}.{key}" if field else str(key)
            yield from absolute_paths(str(key), f"{field or 'record'} (a key)")
            yield from absolute_paths(inner, name)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from absolute_paths(inner, f"{field}[{place}]")
    elif isinstance(value, str):
        if _WHOLE.fullmatch(value):
            yield field, value
        else:
            yield from ((field, match[0]) for match in _INSIDE.finditer(value))


def without_folders(value: Any) -> Any:
    """Return settings in which every absolute path is cut to its last name.

    Where a file lies decides no result, and is nobody's business once records are published.
    """
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    if not isinstance(value, str) or "://" in value:
        return value
    word, colon, rest = value.partition(":")
    if not (colon and word.isidentifier() and len(word) > 1):
        word, colon, rest = "", "", value
    return word + colon + ",".join(_last_name(part) for part in rest.split(","))


def _last_name(text: str) -> str:
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(text)
        if path.is_absolute() or text.startswith("~"):
            return path.name or text
    return text
