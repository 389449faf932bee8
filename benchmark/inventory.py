"""What there is of a task's data: cases found against those of the release, and their headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medssl_bench.errors import DataError

if TYPE_CHECKING:
    from medssl_bench.task import Case, Task
    from medssl_bench.validation import Finding

Pool = Literal["train", "test"]
POOLS: tuple[Pool, ...] = ("train", "test")


@dataclass(frozen=True)
class Stock:
    """The data of one task as found below one folder."""

    task: Task
    folder: Path | None
    """Where it was looked for; None where no folder was given."""
    cases: tuple[Case, ...] = ()
    findings: tuple[Finding, ...] = ()
    """What is wrong in the headers; empty where they were not asked for."""
    reason: str = ""
    """Why nothing can be used, where nothing can."""

    @property
    def owner(self) -> Task:
        """The task, under the name that a corpus has too."""
        return self.task

    @property
    def found(self) -> bool:
        """Whether cases were found; ``findings`` may still stop a run."""
        return not self.reason

    @property
    def state(self) -> Literal["generated", "found", "faulty", "missing"]:
        """``faulty``: there are cases, and headers that stop a run."""
        if not self.found:
            return "missing"
        if not self.task.needs_data:
            return "generated"
        return "faulty" if self.count_of("error") else "found"

    def count(self, pool: Pool) -> int:
        """Cases of one pool."""
        return sum(1 for case in self.cases if case.pool == pool)

    def shown(self, pool: Pool) -> str:
        """Cases of one pool, as found/expected where the size of the release is known."""
        whole = self.task.expected.get(pool)
        return f"{self.count(pool)}/{whole}" if whole is not None else str(self.count(pool))

    def count_of(self, level: Literal["error", "warning"]) -> int:
        """Findings of one level."""
        return sum(1 for finding in self.findings if finding.level == level)

    def as_json(self) -> dict[str, Any]:
        """Describe it as plain data."""
        task = self.task
        return {
            "name": task.name,
            "what": "task",
            "state": self.state,
            "found": self.found,
            "reason": self.reason,
            "folder": None if self.folder is None else str(self.folder.absolute()),
            "train": self.count("train"),
            "test": self.count("test"),
            "expected": dict(task.expected),
            "left_out": dict(task.left_out),
            "modality": task.modality,
            "kind": task.kind,
            "classes": list(task.classes.values()),
            "licence": task.licence,
            "access": task.access,
            "tree": task.tree(),
            "errors": self.count_of("error"),
            "warnings": self.count_of("warning"),
            "findings": [f"{finding.level}: {finding}" for finding in self.findings],
        }


def take_stock(task: Task, data: Mapping[str, Path], headers: bool = True) -> Stock:
    """Look for a task's cases, and at their headers unless it is generated.

    Args:
        task: The task.
        data: Task name -> folder, the empty name for all others, as ``--data`` gives them.
        headers: Read every header; without it only the files are listed.
    """
    from medssl_bench.draws import check_split
    from medssl_bench.planned_data import data_folder
    from medssl_bench.validation import Finding, check_cases

    folder = data_folder(task.name, data)
    cases: tuple[Case, ...] = ()
    findings: list[Finding] = []
    try:
        cases = tuple(task.cases(folder))
        absent = task.absent(folder)
        findings += [Finding("warning", case, "", said) for case, said in absent.items()]
        check_split(cases, task.name)
    except DataError as error:
        reason = str(error).removesuffix(f"; see `bench data status {task.name}`")
        reason = reason.removeprefix(f"{task.name}: ")
        if not cases:
            return Stock(task, folder, reason=reason)
        # The split is at fault; the cases can be looked at all the same.
        findings.append(Finding("error", "", "", reason))
    if headers and task.needs_data:
        findings += check_cases(cases, task)
    return Stock(task, folder, cases, tuple(findings))
