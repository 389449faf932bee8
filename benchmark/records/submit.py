"""A results folder into one bundle, after everything in it was looked at."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from medssl_bench.audit.verdicts import FOLDER as AUDITS
from medssl_bench.audit.verdicts import add_to_verdict
from medssl_bench.digest import file_digest
from medssl_bench.errors import BenchError, did_you_mean
from medssl_bench.progress import Emit
from medssl_bench.records.audits import audits_of
from medssl_bench.records.bundle import write_bundle
from medssl_bench.records.conflicts import FOLDER
from medssl_bench.records.curves import curves_of
from medssl_bench.records.entry import Entry
from medssl_bench.records.finding import Finding
from medssl_bench.records.layout import CURVES, MANIFEST, STORE, is_bundled
from medssl_bench.records.manifest import File, Manifest, Submitted, Submitter
from medssl_bench.records.recheck import recheck
from medssl_bench.records.source import open_source, read_entries
from medssl_bench.records.validate import conflict_findings, set_findings
from medssl_bench.store import FORMAT


@dataclass(frozen=True)
class Options:
    """What the submitter chose."""

    submitter: Submitter = Submitter()
    tasks: tuple[str, ...] = ()
    """Only these; empty: all."""
    unchecked_leaks: str | None = None
    paths_allowed: bool = False
    pictures: bool = False
    predictions: Path | None = None
    references: dict[str, Path] | None = None
    """Task -> folder of label maps; the empty name is every task's."""


@dataclass(frozen=True)
class Outcome:
    """What was looked at, and the bundle where nothing was found."""

    records: int
    findings: list[Finding]
    sha256: str | None = None
    rechecked: int = 0


def submit(results: Path, out: Path, options: Options, emit: Emit) -> Outcome:
    """Look at the records of a results folder; write the bundle where there is no finding.

    Raises:
        BenchError: No results there, an unknown task, or the bundle cannot be written.
    """
    if not (results / STORE).is_file():
        raise BenchError(f"no results in {results}: `bench run` makes some (--results)")
    with open_source(results) as source:
        entries, findings = read_entries(source, emit)
        entries, findings = _of_tasks(entries, findings, options.tasks)
        findings += conflict_findings([("", entry) for entry in entries])
        findings += set_findings(
            source, [entry for entry in entries if not _is_aside(entry)], options.unchecked_leaks
        )
        if options.paths_allowed:
            findings = [found for found in findings if found.check != "paths"]
        rechecked: frozenset[str] = frozenset()
        if options.predictions is not None:
            rechecked, faults = recheck(
                entries, options.predictions, options.references or {}, emit
            )
            findings += faults
        if findings:
            return Outcome(len(entries), findings)
        return Outcome(
            len(entries), [], _write(results, out, entries, options, rechecked), len(rechecked)
        )


def _is_aside(entry: Entry) -> bool:
    return entry.where.startswith(f"{FOLDER}/")


def _of_tasks(
    entries: list[Entry], findings: list[Finding], tasks: tuple[str, ...]
) -> tuple[list[Entry], list[Finding]]:
    known = {entry.record.cell.task for entry in entries}
    for task in tasks:
        if task not in known:
            raise BenchError(f"--tasks {task}: no record of this task.{did_you_mean(task, known)}")
    if not tasks:
        return entries, findings
    kept = [entry for entry in entries if entry.record.cell.task in tasks]
    others = {entry.where for entry in entries} - {entry.where for entry in kept}
    return kept, [found for found in findings if found.where not in others]


def _write(
    results: Path, out: Path, entries: list[Entry], options: Options, rechecked: Collection[str]
) -> str:
    files: dict[str, Path | bytes] = {
        STORE: (json.dumps({"format": FORMAT}) + "\n").encode(),
        **{
            f"{entry.where}/{name}": path
            for entry in entries
            for name, path in entry.files.items()
            if is_bundled(name, options.pictures)
        },
    }
    keys = {entry.record.cell.pretraining for entry in entries}
    for key, content in curves_of(results, keys - {"none"}):
        files[f"{CURVES}/{key}.parquet"] = content
    with tempfile.TemporaryDirectory() as place:
        for verdict in audits_of(results, (entry.record for entry in entries)):
            add_to_verdict(Path(place), verdict)
        for path in sorted((Path(place) / AUDITS).glob("*.json")):
            files[f"{AUDITS}/{path.name}"] = path.read_bytes()
    manifest = Manifest(
        made_by=f"medssl-bench {version('medssl-bench')}",
        submitter=options.submitter,
        unchecked_leaks=options.unchecked_leaks,
        paths_allowed=options.paths_allowed,
        pictures=options.pictures,
        records=tuple(
            Submitted(
                key=entry.record.key, folder=entry.where, seal=entry.seal,
                predictions=entry.record.key in rechecked,
            )
            for entry in entries
        ),
        files={name: _described(file) for name, file in sorted(files.items())},
    )  # fmt: skip
    return write_bundle(out, {**files, MANIFEST: manifest.to_json()})


def _described(file: Path | bytes) -> File:
    if isinstance(file, bytes):
        return File(bytes=len(file), sha256=hashlib.sha256(file).hexdigest())
    return File(bytes=file.stat().st_size, sha256=file_digest(file))
