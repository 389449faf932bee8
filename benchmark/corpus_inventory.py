"""What there is of a corpus's data: cases and scans found against those of the release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medssl_bench.errors import DataError

if TYPE_CHECKING:
    from medssl_bench.task import Case, Corpus
    from medssl_bench.validation import Finding


@dataclass(frozen=True)
class CorpusStock:
    """The data of one corpus as found below one folder."""

    owner: Corpus
    folder: Path | None
    """Where it was looked for; None where no folder was given."""
    cases: tuple[Case, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What is wrong in the headers; empty where they were not asked for."""
    reason: str = ""
    """Why nothing can be used, where nothing can."""

    @property
    def found(self) -> bool:
        """Whether cases were found; ``findings`` may still stop a run."""
        return not self.reason

    @property
    def state(self) -> Literal["generated", "found", "faulty", "missing"]:
        """``faulty``: there are cases, and headers that stop a run."""
        if not self.found:
            return "missing"
        if not self.owner.needs_data:
            return "generated"
        return "faulty" if self.count_of("error") else "found"

    def count_of(self, level: Literal["error", "warning"]) -> int:
        """Findings of one level."""
        return sum(1 for finding in self.findings if finding.level == level)

    @property
    def modalities(self) -> dict[str, int]:
        """Modality -> scans."""
        return dict(Counter(name for case in self.cases for name in case.images))

    @property
    def parts(self) -> dict[str, int]:
        """Part -> cases, where a corpus has parts."""
        return dict(Counter(case.info["part"] for case in self.cases if "part" in case.info))

    @property
    def patients(self) -> int:
        """People in it, as far as is known."""
        return len({case.group for case in self.cases})

    @property
    def shown(self) -> str:
        """Cases as found/expected where the size of the release is known."""
        whole = self.owner.expected
        return f"{len(self.cases)}/{whole}" if whole is not None else str(len(self.cases))

    def as_json(self) -> dict[str, Any]:
        """Describe it as plain data."""
        corpus = self.owner
        return {
            "name": corpus.name,
            "what": "corpus",
            "state": self.state,
            "found": self.found,
            "reason": self.reason,
            "folder": None if self.folder is None else str(self.folder.absolute()),
            "cases": len(self.cases),
            "patients": self.patients,
            "expected": corpus.expected,
            "modalities": self.modalities or dict.fromkeys(corpus.preprocessing, 0),
            "parts": self.parts,
            "licence": corpus.licence,
            "access": corpus.access,
            "tree": corpus.tree(),
            "errors": self.count_of("error"),
            "warnings": self.count_of("warning"),
            "findings": [f"{finding.level}: {finding}" for finding in self.findings],
        }


def corpus_folder(corpus: Corpus, data: Mapping[str, Path]) -> Path | None:
    """Folder of a corpus, as a task has one; ``ixi:T1`` has that of ``ixi``."""
    from medssl_bench.planned_data import data_folder

    return data_folder(corpus.name.partition(":")[0], data)


def take_corpus_stock(
    corpus: Corpus, data: Mapping[str, Path], headers: bool = True
) -> CorpusStock:
    """Look for a corpus's cases, and at their headers unless it is generated.

    Args:
        corpus: The corpus.
        data: Name -> folder, the empty name for all others, as ``--data`` gives them.
        headers: Read every header; without it only the files are listed.
    """
    from medssl_bench.validation import check_cases

    folder = corpus_folder(corpus, data)
    try:
        cases = tuple(corpus.cases(folder))
    except DataError as error:
        reason = str(error).partition("; see `bench data status")[0]
        return CorpusStock(corpus, folder, reason=reason.removeprefix(f"{corpus.name}: "))
    findings = check_cases(cases, corpus) if headers and corpus.needs_data else []
    return CorpusStock(corpus, folder, cases, tuple(findings))
