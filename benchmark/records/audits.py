"""Audits on their way with records: which of them concern these, and whether they are sound."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

from medssl_bench.audit.exposure import read_names
from medssl_bench.audit.verdicts import FOLDER, Leak, Verdict, read_verdict, verdict_path
from medssl_bench.errors import BenchError
from medssl_bench.record import Record


def read_audits(root: Path) -> list[Verdict]:
    """Read every audit of a folder that somebody else may have written.

    Raises:
        BenchError: One is damaged, or lies under another name than its content gives.
    """
    found = []
    for path in sorted((root / FOLDER).glob("*.json")):
        task, tests = read_names(path)
        if not re.fullmatch(r"[0-9a-f]{64}", tests) or verdict_path(root, task, tests) != path:
            raise BenchError(f"{path.name}: damaged audit (it is not the one its name says)")
        verdict = read_verdict(root, task, tests)
        words = [getattr(leak, field.name) for leaks in verdict.leaks.values() for leak in leaks
                 for field in fields(Leak)]  # fmt: skip
        words += [*verdict.volumes, *verdict.data, *verdict.corpora]
        if not all(isinstance(word, str) for word in words):
            raise BenchError(f"{path.name}: damaged audit (a value is no text)")
        found.append(verdict)
    return found


def audits_of(root: Path, records: Iterable[Record]) -> list[Verdict]:
    """Return what audits say of these records' test sets and corpora, and nothing of others.

    Test cases found among the task's own training cases are told whatever the corpus.

    Raises:
        BenchError: An audit is damaged.
    """
    needed = {(record.settings.get("data_digest"), record.digests.corpus) for record in records}
    found = []
    for verdict in read_audits(root):
        data = {one for one, _ in needed if one in verdict.data}
        if not data:
            continue
        corpora = {
            name: volumes
            for name, volumes in verdict.corpora.items()
            if any(corpus == name and one in data for one, corpus in needed)
        }
        volumes = {volume for listed in corpora.values() for volume in listed}
        kept = {
            name: tuple(leak for leak in leaks if name in volumes or leak.source == "train")
            for name, leaks in verdict.leaks.items()
        }
        leaks = {name: leaks for name, leaks in kept.items() if leaks}
        found.append(
            replace(
                verdict,
                data=frozenset(map(str, data)),
                corpora=corpora,
                volumes=frozenset({*volumes, *leaks}),
                leaks=leaks,
            )
        )
    return found
