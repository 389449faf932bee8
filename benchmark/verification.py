"""Reading every voxel of a task or corpus before it is used: ``bench data verify``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medssl_bench.corpus_inventory import take_corpus_stock
from medssl_bench.errors import DataError
from medssl_bench.inventory import take_stock
from medssl_bench.parallel import in_processes, workers_for
from medssl_bench.progress import Emit, Event
from medssl_bench.task import Corpus
from medssl_bench.validation import Finding, name_of

if TYPE_CHECKING:
    from medssl_bench.corpus_inventory import CorpusStock
    from medssl_bench.data.volume import Source
    from medssl_bench.inventory import Stock
    from medssl_bench.task import Case, Task


@dataclass(frozen=True)
class Look:
    """What one case's voxels showed."""

    findings: tuple[Finding, ...]
    prints: Mapping[str, str]
    """Channel -> SHA-256 of its voxels in RAS order, whatever file they came in."""
    label: str | None = None
    """SHA-256 of the label's voxels as stored; None where there is no foreground."""


def verify(
    task: Task | Corpus, data: Mapping[str, Path], emit: Emit, plugins: Sequence[Path] = ()
) -> tuple[Stock | CorpusStock, list[Finding]]:
    """Look for the cases of a task or corpus and read all, in parallel; returns what is wrong.

    Errors: whatever stops a run, as headers that cannot be read or disagree, truncated or damaged
    files, voxels that are not finite, constant images, labels with unknown ids or fractions, the
    same image on both sides of the split, the same label under two images; and a label that lies
    elsewhere than its image, for it may be of another case, although a run only warns of it, since
    headers of labels are often wrong. Warnings: an affine of a channel that differs, the same image
    twice on one side. Notes: labels without foreground, which is no fault.
    """
    stock: Stock | CorpusStock
    if isinstance(task, Corpus):
        stock = take_corpus_stock(task, data)
    else:
        stock = take_stock(task, data)
    if not stock.found:
        missing = Finding("error", task.name, str(stock.folder or ""), stock.reason)
        return stock, [missing]
    if not task.needs_data:
        return stock, []
    unreadable = {(one.case, one.file) for one in stock.findings if one.level == "error"}
    labels = {name_of(case.label) for case in stock.cases if case.label is not None}
    findings = [
        _sterner(finding) if finding.level == "warning" and finding.file in labels else finding
        for finding in stock.findings
    ]
    seen: dict[str, Look] = {}
    title = f"verify {task.name}"
    looks = in_processes(
        partial(look_at, task=task), stock.cases, workers_for(len(stock.cases)), plugins, title
    )
    for case, look in zip(stock.cases, looks, strict=True):
        seen[case.id] = look
        findings += [f for f in look.findings if (f.case, f.file) not in unreadable]
        emit(Event(title, len(seen), len(stock.cases)))
    findings += duplicates(stock.cases, seen) + same_labels(stock.cases, seen)
    emit(Event(title, len(seen), len(stock.cases), "", "done"))
    order = {case.id: place for place, case in enumerate(stock.cases)}
    return stock, sorted(findings, key=lambda finding: order.get(finding.case, -1))


def _sterner(finding: Finding) -> Finding:
    """Return a warning of a label's place as an error."""
    message = f"{finding.message}: is the label of another case?"
    return replace(finding, level="error", message=message)


def look_at(case: Case, task: Task | Corpus) -> Look:
    """Read a case's images and label whole."""
    from medssl_bench.data.labels import class_ids
    from medssl_bench.data.orientation import to_ras
    from medssl_bench.data.preprocess import scale_intensity
    from medssl_bench.data.regrid import on_grid
    from medssl_bench.preparation import rules

    rule, words = rules(task, case)
    findings: list[Finding] = []
    prints: dict[str, str] = {}

    told: set[str] = set()
    drawn: str | None = None

    def note(level: str, source: Source, message: str) -> None:
        if message not in told:  # a label's reader also meets the faults of its scan
            text = message.replace(f"{name_of(source)}: ", "", 1)
            findings.append(Finding(level, case.id, name_of(source), text))  # type: ignore[arg-type]
        told.add(message)

    for channel, source in case.images.items():
        try:
            volume = source.read()
            values = np.ascontiguousarray(to_ras(volume).array)
        except DataError as error:
            note("error", source, str(error))
            continue
        if values.min() == values.max():
            note("error", source, f"every voxel is {values.flat[0]:g}: there is no image")
            continue
        try:
            placed = on_grid(volume, case, channel, rule)
            scale_intensity(placed.array, rule.intensity)
        except DataError as error:
            note("error", source, str(error))
        whole = values.astype(np.float32, copy=False)
        prints[channel] = hashlib.sha256(repr(whole.shape).encode() + whole.tobytes()).hexdigest()
    if case.label is not None:
        try:
            label = class_ids(case.label.read().array, words["remap"], words["classes"])
        except DataError as error:
            note("error", case.label, str(error))
        else:
            if label.any():
                drawn = hashlib.sha256(repr(label.shape).encode() + label.tobytes()).hexdigest()
            else:
                note("note", case.label, "the label has no foreground")
    return Look(tuple(findings), prints, drawn)


def same_labels(cases: Sequence[Case], looks: Mapping[str, Look]) -> list[Finding]:
    """Find labels that are those of an earlier case, although its images are others."""
    first: dict[str, Case] = {}
    findings = []
    for case in cases:
        look = looks[case.id]
        if look.label is None or case.label is None:
            continue
        other = first.setdefault(look.label, case)
        if other is not case and looks[other.id].prints != look.prints:
            message = f"the same voxels as the label of {other.id}: one of them is of another case"
            findings.append(Finding("error", case.id, name_of(case.label), message))
    return findings


def duplicates(cases: Sequence[Case], looks: Mapping[str, Look]) -> list[Finding]:
    """Find images whose voxels are those of an earlier case, or of another channel."""
    first: dict[str, tuple[Case, str]] = {}
    findings = []
    for case in cases:
        for channel, print_ in looks[case.id].prints.items():
            if print_ not in first:
                first[print_] = (case, channel)
                continue
            other, its_channel = first[print_]
            apart = other.pool != case.pool
            where = (
                f"{other.id} ({other.pool})" if other.id != case.id else f"channel {its_channel}"
            )
            file = name_of(case.images[channel])
            message = f"the same voxels as {where}" + (
                f", but this case is in {case.pool}: a leak" if apart else ""
            )
            findings.append(Finding("error" if apart else "warning", case.id, file, message))
    return findings
