"""Whether the cells of a set are whole: no draw left out, methods compared on the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from medssl_bench.draws import split_digest
from medssl_bench.record import Record
from medssl_bench.records.finding import Finding, shown

Arm = tuple[str, str, str]
"""Method, pretraining and backbone: what is compared."""


def draw_findings(records: Iterable[Record]) -> list[Finding]:
    """Look at every (task, shots, protocol) of a set.

    Refused are holes among draws 0, 1, ... and their seeds, fewer draws or seeds than its own
    records say were asked for, methods on unequal draws or seeds, one draw that holds other cases
    for another method, and a split whose digest is not its cases'.
    """
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        cell = record.cell
        groups[cell.task, cell.shots, cell.protocol].append(record)
    findings = []
    for (task, shots, protocol), group in sorted(groups.items()):
        where = f"{task}, {shots} shots, protocol {protocol[:8]}"
        findings += [Finding(where, "draws", text) for text in _group_faults(group)]
    return findings


def _group_faults(group: Sequence[Record]) -> list[str]:
    arms: dict[Arm, list[Record]] = defaultdict(list)
    for record in group:
        cell = record.cell
        arms[cell.method, cell.pretraining, cell.backbone].append(record)
    faults = [fault for arm, records in sorted(arms.items()) for fault in _arm_faults(arm, records)]
    runs = {arm: {(r.cell.draw, r.cell.seed) for r in records} for arm, records in arms.items()}
    most = max(runs.values(), key=len)
    widest = next(arm for arm, found in runs.items() if found is most)
    for arm, found in sorted(runs.items()):
        if missing := sorted(most - found):
            faults.append(
                f"{_title(arm)} lacks {shown(_run(run) for run in missing)}, which"
                f" {_title(widest)} has; methods are compared on the same draws and seeds"
            )
    return faults + _pairing_faults(group)


def _arm_faults(arm: Arm, records: Sequence[Record]) -> list[str]:
    runs = {(record.cell.draw, record.cell.seed) for record in records}
    asked = {name: max((_asked(record, name) for record in records), default=1)
             for name in ("draws", "seeds")}  # fmt: skip
    if records[0].cell.shots == "full":
        asked["draws"] = 1
    draws = max(asked["draws"], 1 + max(draw for draw, _ in runs))
    seeds = max(asked["seeds"], 1 + max(seed for _, seed in runs))
    wanted = {(draw, seed) for draw in range(draws) for seed in range(seeds)}
    if missing := sorted(wanted - runs):
        return [
            f"{_title(arm)}: {len(runs)} of {len(wanted)} cells, without"
            f" {shown(_run(run) for run in missing)}; run them, none may be left out"
        ]
    return []


def _asked(record: Record, name: str) -> int:
    value: Any = record.settings.get(name)
    return value if type(value) is int and 0 < value < 10_000 else 1


def _pairing_faults(group: Sequence[Record]) -> list[str]:
    faults = []
    splits = {record.split.digest for record in group}
    if len(splits) > 1:
        faults.append(f"{len(splits)} splits are mixed; methods are compared on the same test set")
    for record in group:
        if split_digest(record.split.train, record.split.test) != record.split.digest:
            faults.append(f"{record.cell.slug}: the digest of the split is not its cases'")
    by_draw: dict[tuple[int, str], dict[tuple[str, ...], str]] = defaultdict(dict)
    for record in group:
        draw = record.draw
        cases = (*draw.cases, "|", *draw.validation)
        by_draw[record.cell.draw, record.split.digest].setdefault(cases, record.cell.slug)
    for (draw_number, _), variants in sorted(by_draw.items()):
        if len(variants) > 1:
            faults.append(
                f"draw {draw_number} has other labelled cases in {shown(variants.values(), 2)}"
            )
    return faults


def _title(arm: Arm) -> str:
    method, pretraining, backbone = arm
    start = "" if pretraining == "none" else f" {pretraining[:8]}"
    return f"{method}{start} on {backbone}"


def _run(run: tuple[int, int]) -> str:
    return f"draw {run[0]} seed {run[1]}"
