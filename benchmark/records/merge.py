"""Records of other folders and bundles into one results folder: none lost, none overwritten."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medssl_bench.audit.verdicts import add_to_verdict
from medssl_bench.durable import create_once, publish_folder
from medssl_bench.errors import BenchError
from medssl_bench.progress import Emit, Event
from medssl_bench.records.audits import read_audits
from medssl_bench.records.conflicts import FOLDER, conflict_folder
from medssl_bench.records.curves import curves_of
from medssl_bench.records.entry import Entry, read_entry
from medssl_bench.records.finding import Finding
from medssl_bench.records.layout import CURVES, SUBMISSIONS
from medssl_bench.records.numbers import difference
from medssl_bench.records.source import Source, open_source, read_entries
from medssl_bench.records.validate import validate_source
from medssl_bench.store import Store
from medssl_bench.validation import check_writable

State = Literal["added", "there", "repeated", "conflict"]


@dataclass(frozen=True)
class Merged:
    """What became of one record."""

    where: str
    state: State
    """``there``: this very run; ``repeated``: another run with the same numbers, not kept."""


@dataclass
class Outcome:
    """What a merge did, and why it did not do the rest."""

    merged: list[Merged] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def count(self, state: State) -> int:
        """Return how many records ended so."""
        return sum(1 for one in self.merged if one.state == state)


def merge(into: Path, paths: Iterable[Path], emit: Emit) -> Outcome:
    """Add the records of results folders and bundles to a results folder.

    A source with findings is left out whole. Of a bundle everything is looked at; of a results
    folder only the records themselves, since a grid may lie in parts on several machines. A cell
    that is there with the same numbers is left alone; with other numbers both runs are kept, the
    new one in ``conflicts/``, and named. Merging twice adds nothing, and where nothing comes in
    no folder is made.

    Raises:
        BenchError: A path is not there, or ``into`` cannot be written.
    """
    outcome = Outcome()
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise BenchError(f"{path}: no such file or folder")
        if path.is_dir() and into.is_dir() and path.samefile(into):
            raise BenchError(f"{path}: cannot be merged into itself")
    check_writable(into)
    Store(into, read_only=True, missing_ok=True)
    for path in paths:
        try:
            with open_source(path) as source:
                entries, faults = _sound(source, emit)
                if faults:
                    outcome.findings += faults
                    continue
                _merge_source(Store(into), source, entries, outcome, emit)
        except BenchError as error:
            message = str(error).removeprefix(f"{path}: ")
            outcome.findings.append(Finding(str(path), "bundle", message))
    return outcome


def _sound(source: Source, emit: Emit) -> tuple[list[Entry], list[Finding]]:
    if source.manifest is not None:
        return validate_source(source, emit)
    entries, findings = read_entries(source, emit)
    return entries, [found for found in findings if found.check != "paths"]


def _merge_source(
    store: Store, source: Source, entries: list[Entry], outcome: Outcome, emit: Emit
) -> None:
    for number, entry in enumerate(entries, start=1):
        state, finding = _add(store, entry)
        outcome.merged.append(Merged(entry.where, state))
        outcome.findings += [finding] if finding is not None else []
        emit(Event(f"merge {source.title}", number, len(entries), entry.folder.name))
    for verdict in read_audits(source.root):
        add_to_verdict(store.root, verdict)
    for key, content in curves_of(
        source.root, {entry.record.cell.pretraining for entry in entries}
    ):
        if not store.has_pretraining(key):
            (store.root / CURVES).mkdir(exist_ok=True)
            create_once(store.root / CURVES / f"{key}.parquet", content)
    for text in _manifests(source):
        name = f"{hashlib.sha256(text).hexdigest()[:16]}.json"
        (store.root / SUBMISSIONS).mkdir(exist_ok=True)
        create_once(store.root / SUBMISSIONS / name, text)


def _add(store: Store, entry: Entry) -> tuple[State, Finding | None]:
    """Put one run where it belongs; the finding names both where their numbers differ."""
    record, place = entry.record, store.folder(entry.record.cell)
    if not place.exists():
        _copy(entry, place)
        return "added", None
    where = place.relative_to(store.root).as_posix()
    there, faults = read_entry(place, where)
    if there is None:
        raise BenchError(f"{place}: {faults[0].message}; put it right before merging")
    if there.seal == entry.seal:
        return "there", None
    differs = difference(there.cases, entry.cases)
    if not differs and there.record.metrics == record.metrics:
        return "repeated", None
    aside = conflict_folder(store.root, record, entry.seal)
    _copy(entry, aside)
    message = (
        f"{entry.number}; {where} has {there.number}; {differs}; both are kept, this one in"
        f" {aside.relative_to(store.root).as_posix()}"
    )
    return "conflict", Finding(entry.where, FOLDER.removesuffix("s"), message, "conflict")


def _copy(entry: Entry, final: Path) -> None:
    def fill(folder: Path) -> None:
        for name, path in entry.files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    publish_folder(final, fill, sealed=True)


def _manifests(source: Source) -> list[bytes]:
    if source.manifest is not None:
        return [source.manifest.to_json()]
    return [path.read_bytes() for path in sorted((source.root / SUBMISSIONS).glob("*.json"))]
