"""Where everything lies in a bundle, and what may not be in one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from medssl_bench.errors import BenchError

MANIFEST = "manifest.json"
STORE = "store.json"
CURVES = "curves"
"""Loss curves of pretrainings, ``curves/<key>.parquet``; their weights are in no bundle."""
SUBMISSIONS = "submissions"
"""Manifests of what was merged into a results folder."""
TABLES = (
    *("cases.parquet", "history.parquet", "similarity.parquet", "attention.parquet"),
    "missing.parquet",
)
PICTURES, PREDICTIONS, WEIGHTS = "slices/", "predictions/", "weights.safetensors"
"""What a record's checksums may name without its being there; the last two are in no bundle."""

LARGEST_BUNDLE = 2 << 30
"""Bytes. A thousand cells without pictures take about 40 MB."""
LARGEST_TABLE = 256 << 20
"""Bytes of a table once unpacked."""
MOST_FILES = 60_000
LONGEST_NAME = 400

_NAME = r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*"
_TABLES = "|".join(re.escape(name) for name in TABLES)
_PICTURE = r"slices/[^/\\\x00-\x1f.][^/\\\x00-\x1f]*\.png"
_PLACES = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(STORE)}"
    rf"|records/{_NAME}/{_NAME}/(?:record\.json|SHA256SUMS|{_TABLES}|{_PICTURE})"
    rf"|{CURVES}/[0-9a-f]{{64}}\.parquet"
    rf"|audits/{_NAME}\.json"
)


def is_optional(name: str) -> bool:
    """Tell whether a record is whole without this file."""
    return name.startswith((PICTURES, PREDICTIONS)) or name == WEIGHTS


def is_bundled(name: str, pictures: bool) -> bool:
    """Tell whether a record's file goes into a bundle."""
    return name in ("record.json", "SHA256SUMS", *TABLES) or (
        pictures and re.fullmatch(_PICTURE, name) is not None
    )


def check_names(names: Iterable[str]) -> None:
    """Refuse names that lead elsewhere, that are no part of a bundle, or that stand twice.

    Raises:
        BenchError: The first such name and what is wrong with it.
    """
    seen: set[str] = set()
    for name in names:
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in parts:
            raise BenchError(f"the path {name!r} leads outside")
        if len(name) > LONGEST_NAME or not _PLACES.fullmatch(name):
            raise BenchError(f"{name[:LONGEST_NAME]!r} is no part of a bundle")
        if name.casefold() in seen:
            raise BenchError(f"{name!r} is in it twice")
        seen.add(name.casefold())
