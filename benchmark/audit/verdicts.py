"""What audits found, kept in the results folder: ``audits/<task>_<test set>.json``.

A verdict belongs to one test set and grows by the volumes compared with it, told by their content.
So it holds for every subset of what was compared, whatever the corpus is called.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medssl_bench.digest import digest
from medssl_bench.durable import temporary_name, write_durably
from medssl_bench.errors import BenchError
from medssl_bench.record import folder_name

if TYPE_CHECKING:
    from medssl_bench.task import Case

How = Literal["same content", "same scan", "known overlap"]
FOLDER = "audits"
TRAIN = "train"
"""What the task's own training cases are called as a source of leaks."""


@dataclass(frozen=True)
class Leak:
    """A volume that shows a test case."""

    case: str
    """Id of the test case."""
    volume: str
    """Id of the volume, as its corpus calls it."""
    how: How
    evidence: str
    source: str = ""
    """The corpus, or ``TRAIN``."""

    def __str__(self) -> str:
        return f"test case {self.case} is {self.volume} of {self.source}: {self.evidence}"


@dataclass(frozen=True)
class Verdict:
    """What is known of one test set."""

    task: str
    tests: str
    """Digest of the test set's content."""
    volumes: frozenset[str] = frozenset()
    """Content digests of all volumes compared with it."""
    leaks: dict[str, tuple[Leak, ...]] = field(default_factory=dict)
    """Content digest of a volume -> the test cases it shows."""
    corpora: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Digest of a corpus that was compared as a whole -> content digests of its volumes."""
    data: frozenset[str] = frozenset()
    """Digests of the task's data (as records have them) to which this test set belongs."""

    def covers(self, volumes: Iterable[str]) -> bool:
        """Tell whether all these volumes were compared."""
        return self.volumes.issuperset(volumes)

    def of(self, volumes: Iterable[str]) -> tuple[Leak, ...]:
        """Return the leaks of these volumes."""
        return tuple(leak for volume in volumes for leak in self.leaks.get(volume, ()))


def volume_digest(case: Case) -> str:
    """Digest what a case's images hold, whatever the case and its corpus are called."""
    return digest(sorted(source.digest() for source in case.images.values()))


def tests_digest(cases: Sequence[Case]) -> str:
    """Digest the images of a task's test cases and their ids."""
    return digest(sorted((case.id, volume_digest(case)) for case in cases if case.pool == "test"))


def read_verdict(root: Path, task: str, tests: str) -> Verdict:
    """Read what is known of a test set; nothing is known where no audit was made.

    An audit by older fingerprints counts as none, and so does one that does not say which volumes
    its corpora had.

    Raises:
        BenchError: The file is damaged.
    """
    path = verdict_path(root, task, tests)
    try:
        told = json.loads(path.read_text("utf-8"))
        from medssl_bench.audit.fingerprint import VERSION  # it takes SciPy

        known = told["fingerprints"] == VERSION and told["tests"] == tests
        if not known or isinstance(told["corpora"], list):
            return Verdict(task, tests)
        return Verdict(
            task,
            tests,
            frozenset(told["volumes"]),
            {name: tuple(Leak(**row) for row in rows) for name, rows in told["leaks"].items()},
            {name: frozenset(volumes) for name, volumes in told["corpora"].items()},
            frozenset(told["data"]),
        )
    except FileNotFoundError:
        return Verdict(task, tests)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BenchError(f"{path}: damaged audit ({error}); remove it and audit again") from None


def add_to_verdict(root: Path, new: Verdict) -> Verdict:
    """Add an audit to what is known of its test set, and return all of it."""
    from medssl_bench.audit.fingerprint import VERSION  # it takes SciPy

    known = read_verdict(root, new.task, new.tests)
    both = replace(
        new,
        volumes=known.volumes | new.volumes,
        leaks={
            volume: _joined(known.leaks.get(volume, ()), new.leaks.get(volume, ()))
            for volume in {**known.leaks, **new.leaks}
        },
        corpora={**known.corpora, **new.corpora},
        data=known.data | new.data,
    )
    document = {
        "fingerprints": VERSION,
        "task": both.task,
        "tests": both.tests,
        "data": sorted(both.data),
        "corpora": {name: sorted(both.corpora[name]) for name in sorted(both.corpora)},
        "leaks": {name: [asdict(leak) for leak in both.leaks[name]] for name in sorted(both.leaks)},
        "volumes": sorted(both.volumes),
    }
    path = verdict_path(root, new.task, new.tests)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_name(path)
    write_durably(unfinished, (json.dumps(document, indent=1) + "\n").encode())
    unfinished.replace(path)
    return both


def _joined(known: Sequence[Leak], new: Sequence[Leak]) -> tuple[Leak, ...]:
    """Return the leaks of one volume, the newest words of each; older evidence stays evidence."""
    rows = {(leak.case, leak.source, leak.volume): leak for leak in (*known, *new)}
    return tuple(rows.values())


def verdict_path(root: Path, task: str, tests: str) -> Path:
    """Where the verdict on a test set lies."""
    return root / FOLDER / f"{folder_name(task)}_{tests[:12]}.json"
