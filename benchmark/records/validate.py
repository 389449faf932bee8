"""Everything that is looked at before records are published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medssl_bench.errors import BenchError
from medssl_bench.progress import Emit
from medssl_bench.records.curves import read_curves
from medssl_bench.records.draws import draw_findings
from medssl_bench.records.entry import Entry
from medssl_bench.records.finding import Finding
from medssl_bench.records.layout import CURVES
from medssl_bench.records.leaks import leak_findings
from medssl_bench.records.manifest import Manifest
from medssl_bench.records.numbers import difference
from medssl_bench.records.source import Source, open_source, read_entries, read_submissions


def validate(paths: Iterable[Path], emit: Emit) -> tuple[int, list[Finding]]:
    """Look at folders and bundles, each on its own and then for cells that several have.

    Returns the number of sound records and everything found.

    Raises:
        BenchError: A path is not there.
    """
    findings: list[Finding] = []
    entries: list[tuple[str, Entry]] = []
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise BenchError(f"{path}: no such file or folder")
        try:
            with open_source(path) as source:
                found, faults = validate_source(source, emit)
                if len(paths) > 1:
                    faults = [_titled(source, fault) for fault in faults]
        except BenchError as error:
            findings.append(_refused(path, error))
            continue
        findings += faults
        entries += [(str(path) if len(paths) > 1 else "", entry) for entry in found]
    return len(entries), findings + conflict_findings(entries)


def _titled(source: Source, finding: Finding) -> Finding:
    return Finding(
        f"{source.title}: {finding.where}", finding.check, finding.message, finding.level
    )


def _refused(path: Path, error: BenchError) -> Finding:
    return Finding(str(path), "bundle", str(error).removeprefix(f"{path}: "))


def validate_source(source: Source, emit: Emit) -> tuple[list[Entry], list[Finding]]:
    """Look at every record of a source and at its sets: each submission on its own."""
    entries, findings = read_entries(source, emit)
    keys = {entry.record.cell.pretraining for entry in entries}
    findings += [Finding(CURVES, "table", text) for text in read_curves(source.root, keys)[1]]
    try:
        manifests = (
            [source.manifest] if source.manifest is not None else read_submissions(source.root)
        )
    except BenchError as error:
        return entries, [*findings, _refused(source.root, error)]
    allowed = {said.seal for manifest in manifests if manifest.paths_allowed
               for said in manifest.records}  # fmt: skip
    known = {entry.where for entry in entries if entry.seal in allowed}
    kept = [found for found in findings if found.check != "paths" or found.where not in known]
    return entries, kept + _set_findings(source, entries, manifests)


def _set_findings(
    source: Source, entries: Sequence[Entry], manifests: Sequence[Manifest]
) -> list[Finding]:
    """Look at the set of each manifest, and at the records that no manifest names as one set."""
    findings: list[Finding] = []
    by_seal = {entry.seal: entry for entry in entries}
    by_key: dict[str, Entry] = {}
    for entry in entries:
        by_key.setdefault(entry.record.key, entry)
    told: set[str] = set()
    for manifest in manifests:
        found = []
        for said in manifest.records:
            # Where a run of the same numbers was there before, that one stands for it.
            held = by_seal.get(said.seal) or by_key.get(said.key)
            if held is None or held.record.key != said.key:
                findings.append(Finding(said.folder, "manifest", "no sound record of this name"))
            else:
                found.append(held)
                told.add(held.seal)
        findings += set_findings(source, found, manifest.unchecked_leaks)
    rest = [entry for entry in entries if entry.seal not in told]
    return findings + set_findings(source, rest, None)


def set_findings(source: Source, entries: Sequence[Entry], unchecked: str | None) -> list[Finding]:
    """Look at a set as a whole: its draws, and what it says of leaks."""
    records, unpacked = [entry.record for entry in entries], source.manifest is not None
    return draw_findings(records) + leak_findings(
        source.root, records, unchecked, unpacked=unpacked
    )


def conflict_findings(entries: Sequence[tuple[str, Entry]]) -> list[Finding]:
    """Name every cell of which there are runs with different numbers, with all the numbers."""
    runs: dict[str, list[tuple[str, Entry]]] = {}
    for title, entry in entries:
        runs.setdefault(entry.record.key, []).append((title, entry))
    findings = []
    for same in runs.values():
        title, first = same[0]
        for other_title, other in same[1:]:
            differs = difference(first.cases, other.cases)
            if differs or first.record.metrics != other.record.metrics:
                findings.append(
                    Finding(
                        f"{other_title}{': ' if other_title else ''}{other.where}",
                        "conflict",
                        f"{other.number}; {title}{': ' if title else ''}{first.where} has"
                        f" {first.number}; {differs}",
                        "conflict",
                    )
                )
    return findings
