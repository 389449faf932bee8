"""``manifest.json``: what a bundle holds, who hands it in, and what they declare."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from medssl_bench.errors import BenchError
from medssl_bench.record import SCHEMA_VERSION, Count, Name, Part, Sha256

FORMAT: Literal[1] = 1
"""Raised when a bundle's layout or manifest changes; bundles of a newer format are refused."""

Words = Annotated[str, Field(min_length=1, max_length=2000)]


class Submitter(Part):
    """Who hands in, as far as they say."""

    name: Words | None = None
    licence: Words | None = None
    """Under which the numbers (and pictures) may be published, such as ``CC-BY-4.0``."""
    notes: Words | None = None


class Submitted(Part):
    """One record of a bundle."""

    key: Sha256
    folder: Name
    """``records/<task>/<slug>``."""
    seal: Sha256
    """SHA-256 of its SHA256SUMS, which tells this run of the cell from every other."""
    predictions: bool = False
    """Whether its metrics were measured again from predictions when it was handed in."""


class File(Part):
    """One file of a bundle."""

    bytes: Count
    sha256: Sha256


class Manifest(Part):
    """Everything a bundle says of itself."""

    format: Literal[1] = FORMAT
    record_schema: int = SCHEMA_VERSION
    made_by: Name
    """The tool and its version."""
    submitter: Submitter = Submitter()
    unchecked_leaks: Words | None = None
    """Why nobody has looked for test cases in a corpus, where nobody has."""
    paths_allowed: bool = False
    """Whether the submitter knows that records hold paths of their machine."""
    pictures: bool = False
    records: tuple[Submitted, ...]
    files: dict[str, File]
    """Path in the bundle -> size and digest, of every file but the manifest itself."""

    def to_json(self) -> bytes:
        """Return the text of ``manifest.json``."""
        values = self.model_dump(mode="json")
        return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def parse_manifest(text: bytes) -> Manifest:
    """Read a ``manifest.json``; raises BenchError that names the fault."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        newer = _newer(text)
        if newer:
            raise BenchError(f"made by a newer version ({newer}); update medssl-bench") from None
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BenchError(f"manifest.json: {field + ': ' if field else ''}{first['msg']}") from None


def _newer(text: bytes) -> str:
    try:
        found = json.loads(text)["format"]
    except (ValueError, TypeError, KeyError):
        return ""
    return (
        f"format {found}, this one reads {FORMAT}" if type(found) is int and found > FORMAT else ""
    )
