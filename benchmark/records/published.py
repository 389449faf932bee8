"""The records that come with the package, read beside the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from medssl_bench.records.conflicts import Conflict, Version
from medssl_bench.records.numbers import difference

if TYPE_CHECKING:
    from medssl_bench.analysis.leaderboard.results import Results

YOURS, PUBLISHED = "yours", "published"


def published_folder() -> Path:
    """Return the results folder that is shipped with the package."""
    return Path(str(resources.files("medssl_bench.results")))


def read_both(roots: Mapping[str, Path]) -> tuple[Results, list[str]]:
    """Read several results folders, source -> folder, as one; also what was left out.

    Every cell keeps its source in ``Results.sources``. A cell that a later folder has too is shown
    once; where its numbers differ, both are in ``Results.conflicts`` and the first in the tables.

    Raises:
        BenchError: A folder has no results.
    """
    from medssl_bench.analysis.leaderboard.results import read_results

    both: Results | None = None
    left_out: list[str] = []
    for source, root in roots.items():
        found, lines = read_results(root)
        told = {str(conflict) for conflict in found.conflicts}
        lines = [line for line in lines if line not in told]
        found = replace(
            found,
            sources={record["key"]: source for record in found.records},
            conflicts=[_from(conflict, source) for conflict in found.conflicts],
        )
        both = found if both is None else _joined(both, found)
        left_out += [f"{source}: {line}" if len(roots) > 1 else line for line in lines]
    assert both is not None
    return both, [*left_out, *map(str, both.conflicts)]


def _from(conflict: Conflict, source: str) -> Conflict:
    return replace(
        conflict,
        versions=tuple(replace(version, source=source) for version in conflict.versions),
    )


def _joined(first: Results, second: Results) -> Results:
    known = {record["key"] for record in first.records}
    new = {record["key"] for record in second.records} - known
    pretrained = set(first.pretraining.get("pretraining", ()))

    def rows(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
        kept = other[other["key"].isin(new)] if "key" in other else other
        tables = [table for table in (one, kept) if len(table)]
        return pd.concat(tables, ignore_index=True) if tables else one

    curves = second.pretraining
    if "pretraining" in curves:
        curves = curves[~curves["pretraining"].isin(pretrained)]
    return replace(
        first,
        cases=rows(first.cases, second.cases),
        records=[*first.records, *(one for one in second.records if one["key"] in new)],
        histories=rows(first.histories, second.histories),
        pretraining=rows(first.pretraining, curves),
        similarity=rows(first.similarity, second.similarity),
        attention=rows(first.attention, second.attention),
        missing=rows(first.missing, second.missing),
        pretraining_hours={**second.pretraining_hours, **first.pretraining_hours},
        pictures={**second.pictures, **first.pictures},
        slices=[*first.slices, *(one for one in second.slices if one.key in new)],
        predictions=first.predictions | second.predictions,
        viewers={**second.viewers, **first.viewers},
        paths={**second.paths, **first.paths},
        sources={**second.sources, **first.sources},
        conflicts=_conflicts(first, second, known - new),
    )


def _conflicts(first: Results, second: Results, known: set[str]) -> list[Conflict]:
    """Join the runs kept aside of both, and add the cells in which the two folders differ."""
    found: dict[str, Conflict] = {conflict.key: conflict for conflict in first.conflicts}
    theirs = {conflict.key: conflict for conflict in second.conflicts}
    for record in second.records:
        key = record["key"]
        others = theirs[key].versions if key in theirs else (_version(second, key),)
        if key in known:
            own = found[key].versions if key in found else (_version(first, key),)
            others = tuple(one for one in others if not any(_same(one, mine) for mine in own))
            if not others and key not in found:
                continue
            found[key] = Conflict(key, record["cell"], (*own, *others))
        elif key in theirs:
            found[key] = theirs[key]
    return [found[key] for key in sorted(found)]


def _same(one: Version, other: Version) -> bool:
    alike = one.record["metrics"] == other.record["metrics"]
    return alike and not difference(one.cases, other.cases)


def _version(results: Results, key: str) -> Version:
    from medssl_bench.tables import CELL_COLUMNS

    cases = results.cases[results.cases["key"] == key]
    record = next(record for record in results.records if record["key"] == key)
    own = cases.drop(columns=[*CELL_COLUMNS]).dropna(axis="columns", how="all")
    return Version(results.paths[key], record, own, results.sources[key])
