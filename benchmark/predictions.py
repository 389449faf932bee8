"""Anybody's predictions against references: two folders of label maps, matched by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medssl_bench.errors import BenchError, DataError

if TYPE_CHECKING:
    import pandas as pd

Targets = Mapping[str, tuple[int, ...]]
"""Name of a target to the label ids it is made of."""

TOLERANCE_MM = 0.1
"""Farthest a corner of the prediction's grid may lie from that of the reference's."""

LARGEST_ID = 255


@dataclass(frozen=True)
class Pair:
    """One case: its two files."""

    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class Scoring:
    """How cases are scored."""

    targets: Targets | None = None
    """None: every label id found is a target of its own, named by its number."""
    tolerance_mm: float = 1.0
    """Of the surface Dice."""
    lesions: str | None = None
    """A task of BraTS 2023 by whose rules lesions are scored one by one as well."""


def match(predictions: Path, references: Path) -> list[Pair]:
    """Pair the NIfTI files of two folders by their path without ending, in order of name.

    Raises:
        DataError: A folder is missing or empty, a case has only one of the two files, or two.
    """
    ours, theirs = _files(predictions), _files(references)
    for have, lack, folder in (
        (theirs, ours, f"predictions {predictions}"),
        (ours, theirs, f"references {references}"),
    ):
        missing = sorted(set(have) - set(lack))
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise DataError(
                f"{folder}: {len(missing)} of {len(have)} cases missing: {shown}; a case is never"
                " left out, so add the files or take the others away"
            )
    return [Pair(case, ours[case], theirs[case]) for case in sorted(theirs)]


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        ending = next((end for end in (".nii.gz", ".nii") if path.name.endswith(end)), None)
        if ending is None or path.name.startswith("."):
            continue
        case = path.relative_to(folder).as_posix().removesuffix(ending)
        if case in found:
            raise DataError(f"{path}: {found[case].name} is there too; which of them is meant?")
        found[case] = path
    if not found:
        raise DataError(f"{folder}: no .nii or .nii.gz in it")
    return found


def read_targets(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names of label ids from JSON or YAML.

    Either ``id: name`` or ``name: id``, or ``name: [ids]`` for regions, which may overlap; on top
    level or below ``labels``, as in nnU-Net's dataset.json. Id 0 is background.

    Raises:
        BenchError: The file is missing or says something else.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"--labels {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        cause = " ".join(str(error).split())
        raise BenchError(f"--labels {path}: neither JSON nor YAML ({cause})") from None
    content = content.get("labels", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not content:
        raise BenchError(f"--labels {path}: give `id: name` pairs, or a file with `labels`")
    targets: dict[str, tuple[int, ...]] = {}
    for key, value in content.items():
        # Of `id: name` the key is the number; of `name: id` the value is.
        name, ids = (str(value), (key,)) if _is_id(key) else (str(key), value)
        listed = tuple(ids) if isinstance(ids, list | tuple) else (ids,)
        if not all(_is_id(one) and 0 <= int(one) <= LARGEST_ID for one in listed) or not listed:
            raise BenchError(
                f"--labels {path}: {key!r}: {value!r} is not an id from 0 to {LARGEST_ID} and name"
            )
        numbers = tuple(int(one) for one in listed)
        if numbers == (0,) or name in ("background", "ignore"):
            continue
        if name in targets or 0 in numbers:
            raise BenchError(f"--labels {path}: {name!r} stands twice or holds 0, the background")
        targets[name] = numbers
    if not targets:
        raise BenchError(f"--labels {path}: names no label but the background")
    return targets


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and str(value).isdigit()


def score(
    pairs: Sequence[Pair], scoring: Scoring, workers: int | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each case in order, one for each target; see :func:`table_of`.

    Raises:
        DataError: Files on different grids, a file that cannot be read, unknown labels.
    """
    from medssl_bench.parallel import in_processes, workers_for

    count = workers_for(len(pairs)) if workers is None else min(workers, len(pairs))
    yield from in_processes(partial(score_case, scoring=scoring), pairs, count, (), "evaluate")


def score_case(pair: Pair, scoring: Scoring) -> list[dict[str, Any]]:
    """Measure every target of one case; without names, of the ids found in it."""
    from medssl_bench.analysis.lesions import LESION_RULES, lesion_metrics
    from medssl_bench.analysis.metrics import case_metrics

    reference, spacing = _read(pair.reference, scoring.targets)
    prediction, _ = _read(pair.prediction, scoring.targets)
    _check_grid(pair)
    targets = scoring.targets or {
        str(number): (number,) for number in _ids(reference) | _ids(prediction)
    }
    rows: list[dict[str, Any]] = []
    classes = {ids[0]: name for name, ids in targets.items() if len(ids) == 1}
    if targets and len(classes) == len(targets):  # each is one id, and no two the same
        found = case_metrics(
            reference, prediction, spacing, classes, tolerance_mm=scoring.tolerance_mm, more=True
        )
        rows = [dict(row) for row in found]
    else:
        for name, ids in targets.items():
            masks = (np.isin(reference, ids), np.isin(prediction, ids))
            found = case_metrics(
                masks[0].astype(np.uint8), masks[1].astype(np.uint8), spacing, {1: name},
                tolerance_mm=scoring.tolerance_mm, more=True,
            )  # fmt: skip
            rows.append(dict(found[0]))
    for row in rows:
        if scoring.lesions is not None:
            ids = targets[row["target"]]
            row |= lesion_metrics(
                np.isin(reference, ids), np.isin(prediction, ids), spacing,
                LESION_RULES[scoring.lesions],
            )  # fmt: skip
    return [{"case": pair.case, **row} for row in rows]


def _read(path: Path, targets: Targets | None) -> tuple[Any, tuple[float, float, float]]:
    from medssl_bench.data.labels import class_ids
    from medssl_bench.data.reading import FileSource

    volume = FileSource(path).read()
    known = None if targets is None else {one for ids in targets.values() for one in ids}
    try:
        return class_ids(volume.array, classes=known), volume.header.spacing
    except DataError as error:
        message = str(error).replace("the task's classes or remap", "--labels")
        raise DataError(f"{path}: {message}") from None


def _check_grid(pair: Pair) -> None:
    from medssl_bench.data.reading import FileSource
    from medssl_bench.data.regrid import corner_distance

    ours, theirs = FileSource(pair.prediction).header(), FileSource(pair.reference).header()
    shapes = ["x".join(map(str, header.shape)) for header in (ours, theirs)]
    if ours.shape != theirs.shape:
        raise DataError(
            f"{pair.prediction}: shape {shapes[0]}, its reference {pair.reference} has {shapes[1]};"
            " resample the prediction to the reference's grid"
        )
    apart = corner_distance(ours, theirs)
    if apart > TOLERANCE_MM:
        raise DataError(
            f"{pair.prediction}: its grid lies up to {apart:.1f} mm from that of its reference"
            f" {pair.reference} (origin, spacing or direction differ); resample it to the"
            " reference's grid"
        )


def _ids(labels: Any) -> set[int]:
    from medssl_bench.data.labels import ids_present

    return set(ids_present(labels)) - {0}


def table_of(rows: Sequence[Mapping[str, Any]], pairs: Sequence[Pair]) -> pd.DataFrame:
    """Return all rows as a table in which every case has every target.

    Without names a case yields only the ids found in it; the ids of other cases are empty in both
    of its files, status ``both_empty``.

    Raises:
        DataError: No file holds any label.
    """
    import pandas as pd

    if not rows:
        raise DataError(
            f"{pairs[0].reference.parent}: neither references nor predictions hold any label"
        )
    table = pd.DataFrame([dict(row) for row in rows])
    names = sorted(table["target"].unique(), key=lambda name: (len(name), name))
    if (table.groupby("case")["target"].size() == len(names)).all() and table[
        "case"
    ].nunique() == len(pairs):
        return table
    from medssl_bench.data.reading import FileSource

    known = {(row["case"], row["target"]): dict(row) for row in rows}
    diagonals = {row["case"]: row["diagonal_mm"] for row in rows}
    complete = []
    for pair in pairs:
        for name in names:
            row = known.get((pair.case, name))
            if row is None:
                diagonal = diagonals.get(pair.case)
                if diagonal is None:
                    header = FileSource(pair.reference).header()
                    diagonal = math.hypot(*np.multiply(header.shape, header.spacing))
                row = _empty(pair.case, name, diagonal, lesions="lesion_dice" in table)
            complete.append(row)
    return pd.DataFrame(complete)[list(table.columns)]


def _empty(case: str, target: str, diagonal: float, *, lesions: bool) -> dict[str, Any]:
    from medssl_bench.analysis.lesions import lesion_metrics
    from medssl_bench.analysis.metrics import case_metrics

    nothing = np.zeros((1, 1, 1), np.uint8)
    row = case_metrics(
        nothing, nothing, (1.0, 1.0, 1.0), {1: target}, diagonal=diagonal, more=True
    )[0]
    complete: dict[str, Any] = {"case": case, **row}
    if lesions:
        complete |= lesion_metrics(nothing > 0, nothing > 0, (1.0, 1.0, 1.0))
    return complete


def as_json(table: pd.DataFrame) -> str:
    """Return one object a row; what is not finite is null, and the status says why."""
    rows = [
        {
            str(name): None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        for row in table.to_dict("records")
    ]
    return json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False)
