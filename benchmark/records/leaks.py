"""Whether a set of records says what its encoders have seen of the test sets."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from medssl_bench.audit.exposure import audited_later, read_verdicts
from medssl_bench.errors import BenchError
from medssl_bench.record import Record
from medssl_bench.records.audits import read_audits
from medssl_bench.records.finding import Finding, shown


def leak_findings(
    root: Path, records: Iterable[Record], declared: str | None, *, unpacked: bool = False
) -> list[Finding]:
    """Refuse pretrained cells whose leaks nobody looked for, unless that is declared with a reason.

    Audits of the results folder count, also those made after the record. A cell without
    pretraining has nothing that could leak. ``unpacked``: the folder is what a bundle holds, so
    that an audit belongs into the folder from which it was made.
    """
    results = "RESULTS" if unpacked else shlex.quote(str(root))
    whose = " (RESULTS: the folder that was submitted)" if unpacked else ""
    unchecked: dict[tuple[str, str], list[str]] = defaultdict(list)
    try:
        read_audits(root)
        verdicts = read_verdicts(root)
        for record in records:
            document = record.model_dump(mode="json")
            strangers = {*record.leaks.found} - {*record.split.test}
            if strangers:
                return [Finding(record.cell.slug, "leaks", f"no test case: {shown(strangers)}")]
            checked = audited_later(verdicts, document)["checked"]
            if record.cell.pretraining != "none" and not checked:
                where = (record.cell.task, record.corpus or "an unknown corpus")
                unchecked[where].append(record.cell.slug)
    except BenchError as error:
        return [Finding("audits", "leaks", str(error))]
    if declared:
        return []
    return [
        Finding(
            f"{task}, {corpus}", "leaks",
            f"{len(cells)} cells were pretrained on {corpus}, in which nobody looked for test cases"
            f" of {task}: run `bench data audit {task} --corpus {corpus} --results {results}`"
            f"{whose}, or say why not with `bench submit --unchecked-leaks REASON`",
        )
        for (task, corpus), cells in sorted(unchecked.items())
    ]  # fmt: skip
