"""Where records come from: a results folder, or a bundle that is unpacked for a while."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medssl_bench.errors import BenchError
from medssl_bench.progress import Emit, Event
from medssl_bench.records.bundle import read_bundle
from medssl_bench.records.conflicts import conflict_folders
from medssl_bench.records.entry import Entry, read_entry
from medssl_bench.records.finding import Finding
from medssl_bench.records.layout import MANIFEST, STORE, SUBMISSIONS
from medssl_bench.records.manifest import Manifest, parse_manifest
from medssl_bench.store import Store


@dataclass(frozen=True)
class Source:
    """A results folder, or what a bundle holds."""

    title: str
    """As the user named it."""
    root: Path
    manifest: Manifest | None
    """Of a bundle."""

    def folders(self) -> list[Path]:
        """Return the folders of all records, in order of name."""
        found = (path for path in (self.root / "records").glob("*/*") if path.is_dir())
        return sorted(path for path in found if not path.name.startswith("."))


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a results folder or a bundle; what a bundle unpacks to is gone afterwards.

    Raises:
        BenchError: No such thing, a folder without results, or a bundle that is not sound.
    """
    if path.is_dir():
        if not (path / STORE).exists():
            raise BenchError(f"{path}: no results in it (no {STORE}, which `bench run` writes)")
        Store(path, read_only=True)
        yield Source(str(path), path, None)
        return
    with tempfile.TemporaryDirectory(prefix="bench-bundle-") as place:
        manifest = read_bundle(path, Path(place))
        yield Source(str(path), Path(place), manifest)


def read_entries(source: Source, emit: Emit) -> tuple[list[Entry], list[Finding]]:
    """Read every record of a source, runs kept aside included, and say what is wrong with each."""
    folders = [*source.folders(), *conflict_folders(source.root)]
    entries: list[Entry] = []
    findings: list[Finding] = []
    for number, folder in enumerate(folders, start=1):
        where = folder.relative_to(source.root).as_posix()
        entry, faults = read_entry(folder, where)
        entries += [entry] if entry is not None else []
        findings += faults
        emit(Event(f"read {source.title}", number, len(folders), folder.name))
    if not folders:
        findings.append(Finding(source.title, "records", "no record in it"))
    return entries, findings


def read_submissions(root: Path) -> list[Manifest]:
    """Return the manifests of the bundles merged into a results folder, in order of name.

    Raises:
        BenchError: One is damaged.
    """
    found = []
    for path in sorted((root / SUBMISSIONS).glob("*.json")):
        try:
            found.append(parse_manifest(path.read_bytes()))
        except BenchError as error:
            raise BenchError(f"{path}: {error}") from None
    if (root / MANIFEST).is_file():  # a bundle that somebody unpacked
        found.append(parse_manifest((root / MANIFEST).read_bytes()))
    return found
