"""Which targets make an organ group, from the task's record; gall bladder's is a setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.tables import target_order

GALL_BLADDER = "gall_bladder"


def groups_of(
    results: Results, task: str, gall_bladder: Literal["small", "gi"] | None = None
) -> dict[str, tuple[str, ...]]:
    """Return group name to targets; a target of no group is a group of its own.

    Groups are those of the task when it was run, or where it had none those of AMOS, by name.

    Args:
        results: Records and case table.
        task: A task of the records.
        gall_bladder: Its group, whatever the task says: paper 004 has it among small organs
            (Fig. 3) and among gastrointestinal ones (section 4.1).
    """
    from medssl_bench.tasks.amos import GROUPS

    recorded = next(
        record["settings"].get("task", {}).get("groups")
        for record in results.records
        if record["cell"]["task"] == task
    )
    named: Mapping[str, tuple[str, ...]] = recorded or {
        **GROUPS,
        "small": (*GROUPS["small"], GALL_BLADDER),
    }
    groups = {name: tuple(targets) for name, targets in named.items()}
    if gall_bladder is not None:
        groups = {
            name: tuple(one for one in targets if one != GALL_BLADDER)
            for name, targets in groups.items()
        }
        groups[gall_bladder] = (*groups.get(gall_bladder, ()), GALL_BLADDER)
    cases = results.segmented
    known = target_order(cases[cases["task"] == task])[task]
    grouped = {
        name: tuple(one for one in known if one in targets) for name, targets in groups.items()
    }
    taken = {one for targets in grouped.values() for one in targets}
    alone = {one: (one,) for one in known if one not in taken}
    return {name: targets for name, targets in grouped.items() if targets} | alone
