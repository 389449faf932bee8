"""The audit itself: fingerprints of both sides, kept in the cache, and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medssl_bench.audit.fingerprint import VERSION, Fingerprint, fingerprint, load_fingerprint
from medssl_bench.audit.matching import CORRELATED, MANY, Index, Match, correlation
from medssl_bench.audit.overlaps import known_overlaps
from medssl_bench.audit.verdicts import TRAIN, Leak, Verdict, tests_digest, volume_digest
from medssl_bench.durable import temporary_name, write_durably
from medssl_bench.errors import DataError
from medssl_bench.parallel import in_processes, workers_for
from medssl_bench.planned_data import data_digest
from medssl_bench.progress import Emit, Event

if TYPE_CHECKING:
    from medssl_bench.data.volume import Source
    from medssl_bench.task import Case

FOLDER = "fingerprints"


@dataclass(frozen=True)
class Side:
    """Cases to look for, and where their fingerprints are."""

    cases: tuple[Case, ...]
    prints: Mapping[str, Path]
    """Digest of a source -> file of its fingerprint; unreadable sources have none."""

    def flat(self) -> list[tuple[Case, Source]]:
        """Return every case with each of its channels that has a fingerprint."""
        return [
            (case, source)
            for case in self.cases
            for source in case.images.values()
            if source.digest() in self.prints
        ]

    def fingerprints(self) -> Iterator[Fingerprint]:
        """Read the fingerprints in the order of ``flat``, one at a time."""
        for _, source in self.flat():
            yield load_fingerprint(self.prints[source.digest()])


def fingerprint_cases(
    cases: Sequence[Case], cache: Path, title: str, emit: Emit, plugins: Sequence[Path] = ()
) -> tuple[Side, dict[str, str]]:
    """Make the fingerprints that are missing, in parallel; also returns faults by case id.

    Memory holds one volume for each process.
    """
    work = partial(_fingerprint_case, cache=cache)
    prints: dict[str, Path] = {}
    faults: dict[str, str] = {}
    found = in_processes(work, cases, workers_for(len(cases)), plugins, title)
    for number, (case, (made, fault)) in enumerate(zip(cases, found, strict=True), start=1):
        prints |= made
        if fault:
            faults[case.id] = fault
        emit(Event(title, number, len(cases)))
    note = f"{len(faults)} cases cannot be read" if faults else ""
    emit(Event(title, len(cases), len(cases), note, "failed" if faults else "done"))
    return Side(tuple(case for case in cases if case.id not in faults), prints), faults


def _fingerprint_case(case: Case, cache: Path) -> tuple[dict[str, Path], str]:
    """Return the files of a case's fingerprints by digest of their source, and what failed."""
    made = {}
    try:
        for source in case.images.values():
            key = source.digest()
            made[key] = path = fingerprint_path(cache, key)
            if not path.exists():
                _write(path, source)
    except DataError as error:
        return {}, str(error)
    return made, ""


def _write(path: Path, source: Source) -> None:
    content = fingerprint(source.read()).to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_name(path)
    write_durably(unfinished, content)
    unfinished.replace(path)


def fingerprint_path(cache: Path, key: str) -> Path:
    """Where the fingerprint of a source lies, by its digest."""
    return cache / FOLDER / f"v{VERSION}" / key[:2] / f"{key}.npz"


@dataclass(frozen=True)
class Audit:
    """What was found about one test set."""

    verdict: Verdict
    faults: Mapping[str, Mapping[str, str]]
    """Corpus, ``train`` or ``test`` -> case id -> why it could not be looked at."""
    untold: Mapping[str, Sequence[str]]
    """Corpus, ``train`` or ``test`` -> cases with too little in them to be told from others, but by
    equal content; where there are none, nothing."""

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """Every pair that was found, by test case."""
        every = [leak for leaks in self.verdict.leaks.values() for leak in leaks]
        return tuple(sorted(every, key=lambda leak: (leak.case, leak.source, leak.volume)))


def audit(
    task: str,
    cases: Sequence[Case],
    corpora: Mapping[str, tuple[Side, Mapping[str, str]]],
    tables: Mapping[str, Sequence[Path]],
    digests: Mapping[str, str],
    cache: Path,
    emit: Emit,
    plugins: Sequence[Path] = (),
) -> Audit:
    """Look for a task's test cases among its training cases and in corpora.

    Args:
        task: The task's name.
        cases: All of its cases.
        corpora: Corpus -> what :func:`fingerprint_cases` returned of its volumes.
        tables: Corpus -> tables of known overlaps.
        digests: Corpus -> its digest, of those that are looked at as a whole.
        cache: Folder that holds the fingerprints.
        emit: Receives progress.
        plugins: Loaded in other processes.

    Raises:
        DataError: A table or a fingerprint cannot be read.
    """
    sides: dict[str, Side] = {}
    faults: dict[str, Mapping[str, str]] = {}
    for pool in ("test", TRAIN):
        chosen = [case for case in cases if case.pool == pool]
        title = f"fingerprint {task} ({pool})"
        sides[pool], faults[pool] = fingerprint_cases(chosen, cache, title, emit, plugins)
    tests = sides.pop("test")
    for name, (side, its_faults) in corpora.items():
        sides[name], faults[name] = side, its_faults
    emit(Event(f"audit {task}", 0, len(sides)))
    vague = {name: untold(side) for name, side in {"test": tests, **sides}.items()}
    verdict = _compare(task, tests, cases, sides, tables, digests, vague)
    emit(Event(f"audit {task}", len(sides), len(sides), "", "done"))
    return Audit(verdict, faults, {name: found for name, found in vague.items() if found})


def _compare(
    task: str,
    tests: Side,
    every: Sequence[Case],
    others: Mapping[str, Side],
    tables: Mapping[str, Sequence[Path]],
    digests: Mapping[str, str],
    vague: Mapping[str, Sequence[str]],
) -> Verdict:
    """Find the test cases that other volumes show; ``every`` case names the test set.

    A test case that cannot be read, or is too ``vague`` to be told, leaves all volumes unchecked,
    for it may be any of them; a vague volume stays unchecked itself.
    """
    index = Index([*tests.fingerprints()])
    flat = tests.flat()
    same: dict[str, list[Case]] = {}
    for case, source in flat:
        same.setdefault(source.digest(), []).append(case)
    leaks: dict[str, dict[tuple[str, str, str], Leak]] = {}

    def add(case: Case, volume: Case, leak: Leak) -> None:
        known = leaks.setdefault(volume_digest(volume), {})
        known.setdefault((leak.case, leak.source, leak.volume), leak)

    for name, side in others.items():
        pairs = side.flat()
        for volume, source in pairs:
            for case in same.get(source.digest(), ()):
                leak = Leak(case.id, volume.id, "same content", "the same content", name)
                add(case, volume, leak)
        for match in sorted(index.matches(side.fingerprints()), key=lambda m: -m.landmarks):
            (case, one), (volume, other) = flat[match.test], pairs[match.other]
            if evidence := _evidence(match, one, other):
                add(case, volume, Leak(case.id, volume.id, "same scan", evidence, name))
        for table in tables.get(name, ()):
            for case, volume, evidence in known_overlaps(table, side.cases, tests.cases):
                add(case, volume, Leak(case.id, volume.id, "known overlap", evidence, name))
    whole = len(tests.cases) == sum(1 for case in every if case.pool == "test")
    whole = whole and not vague["test"]
    compared = frozenset(
        volume_digest(case)
        for name, side in others.items()
        for case in side.cases
        if whole and name != TRAIN and case.id not in vague[name]
    )
    found = {volume: tuple(rows.values()) for volume, rows in leaks.items()}
    corpora = {
        digest: frozenset(volume_digest(case) for case in others[name].cases)
        for name, digest in digests.items()
        if whole and not vague[name]
    }
    data = frozenset([data_digest(every)])
    return Verdict(task, tests_digest(every), compared, found, corpora, data)


def _evidence(match: Match, test: Source, other: Source) -> str:
    """Say why two volumes are one scan; nothing where they are not, after a look at the voxels."""
    words = f"{match.landmarks} of {match.of} landmarks agree"
    if match.certain:
        return words
    found = correlation(test.read(), other.read(), match)
    return f"{words}, voxels correlate by {found:.2f}" if (found or 0) >= CORRELATED else ""


def untold(side: Side) -> list[str]:
    """Return the cases of which no channel has landmarks enough to be told from others."""
    rich = {
        case.id
        for (case, _), print_ in zip(side.flat(), side.fingerprints(), strict=True)
        if len(print_) >= 2 * MANY
    }
    return [case.id for case in side.cases if case.id not in rich]
