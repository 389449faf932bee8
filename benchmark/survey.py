"""What planning has read of disks, so that several plans of one command read it once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from medssl_bench.task import Case, Corpus
    from medssl_bench.validation import Finding

Read = TypeVar("Read")


class Survey:
    """Keeps what was read for as long as one command plans; nothing is kept on disk."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def once(self, what: Hashable, read: Callable[[], Read]) -> Read:
        """Return what was read under this name, reading it the first time.

        An error is not kept: it ends the command.
        """
        if what not in self._kept:
            self._kept[what] = read()
        found: Read = self._kept[what]
        return found

    def check(self, cases: Sequence[Case], corpus: Corpus, where: Hashable) -> list[Finding]:
        """Check the headers of cases, of each once; see ``check_cases``.

        ``where`` is the corpus as it was asked for, and its folder.
        """
        from medssl_bench.validation import check_cases

        known: dict[str, list[Finding]] = self.once(("headers", where), dict)
        new = [case for case in cases if case.id not in known]
        found: dict[str, list[Finding]] = {case.id: [] for case in new}
        for finding in check_cases(new, corpus):
            found.setdefault(finding.case, []).append(finding)
        known |= found
        return [finding for case in cases for finding in known[case.id]]
