"""Dice, HD95 and surface Dice of a label map, and their means over cases.

``case_metrics`` measures one case from masks; ``summarise`` aggregates the case table. Definitions
differ between tools by tens of millimetres (Podobnik & Vrtovec, arXiv 2410.02630), so each has a
name and a version in ``DEFINITIONS``, which goes into every record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from medssl_bench.analysis.distances import Distances, directed_distances
from medssl_bench.analysis.surface import common_box, find_borders
from medssl_bench.analysis.surfels import surfel_hd95

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["ok", "both_empty", "pred_empty", "ref_empty"]
STATUSES: tuple[Status, ...] = ("ok", "both_empty", "pred_empty", "ref_empty")


class CaseRow(TypedDict):
    """One row of the case table: one target of one case. NaN and inf are kept as they are."""

    target: str
    dice: float
    hd95: float
    hd95_pooled: float
    nsd: float
    status: Status
    reference_ml: float
    prediction_ml: float
    diagonal_mm: float
    assd: NotRequired[float]
    hd95_surfel: NotRequired[float]
    volume_error: NotRequired[float]


MORE = ("assd", "hd95_surfel", "volume_error")
"""What is measured only where ``more`` is asked for; runs do not record it."""


def definitions(tolerance_mm: float = 1.0, more: bool = False) -> dict[str, str]:
    """Name the definition and version behind each column; without ``more`` those of the record."""
    surface = "6-neighbour border, outside the volume is background, mm"
    empty = "NaN if both are empty"
    words = {
        "dice": f"dice/1: 2|A&B|/(|A|+|B|); {empty}, 0 if one is",
        "hd95": "hd95_max_directed/1: larger of the two directed 95th percentiles, linear "
        f"interpolation; {surface}; {empty}, inf if one is",
        "hd95_pooled": "hd95_pooled/1: 95th percentile of both directions' distances together, "
        f"linear interpolation; {surface}; {empty}, inf if one is",
        "nsd": f"nsd_{tolerance_mm:g}mm/1: share of both borders' voxels within "
        f"{tolerance_mm:g} mm of the other border; {surface}; {empty}, 0 if one is",
        "aggregation": "case_target_dataset/1: targets present in the reference (status ok or "
        "pred_empty); per case the mean over targets, then the mean over cases; an infinite "
        "distance counts as the image's diagonal; misses and false positives counted apart",
    }
    if more:
        words |= {
            "assd": "assd/1: mean of both directions' distances together (MONAI's and"
            f" MetricsReloaded's; medpy averages the two means); {surface}; {empty}, inf if one is",
            "hd95_surfel": "hd95_surfel/1: larger of the two directed, area-weighted 95th"
            " percentiles between surfaces on the corners of voxels, no interpolation (DeepMind's"
            f" surface-distance, BraTS), mm; {empty}, inf if one is",
            "volume_error": "volume_error/1: (prediction - reference) / reference volume; NaN if"
            " the reference is empty",
        }
    return words


DEFINITIONS: dict[str, str] = definitions()

AVERAGED = ("nsd", "assd", "volume_error")
LESIONS = ("lesion_dice", "lesion_hd95")
"""What a summary has beside Dice and HD95, where it was measured."""

# Coordinates in mm are rounded; a distance equal to the tolerance must count as within it.
ROUNDING_MM = 1e-6


def case_metrics(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    classes: Mapping[int, str],
    diagonal: float | None = None,
    tolerance_mm: float = 1.0,
    more: bool = False,
) -> list[CaseRow]:
    """Measure every class of one case, by the rules in ``DEFINITIONS``.

    Args:
        reference: ``(X, Y, Z)`` integer labels. Labels outside ``classes`` belong to no class.
        prediction: ``(X, Y, Z)`` integer labels on the same grid.
        spacing: voxel size in mm along the three axes.
        classes: label (at least 1; 0 is background) to name.
        diagonal: the image's physical diagonal in mm, where the arrays are only a part of it; by
            default the diagonal of the arrays.
        tolerance_mm: of ``nsd``; with another value than 1 record ``definitions(tolerance_mm)``.
        more: measure what ``MORE`` names as well, where surfaces are dense in single precision
            (distances off by up to 1e-6 of themselves), which is several times faster.

    Returns:
        One row per class, in the order of ``classes``.

    Raises:
        ValueError: shapes differ, an array is not 3D or not of integers, or spacing, classes,
            diagonal or tolerance are out of range.
    """
    _validate(reference, prediction, spacing, classes, diagonal, tolerance_mm)
    if diagonal is None:
        diagonal = math.hypot(
            *(size * side for size, side in zip(reference.shape, spacing, strict=True))
        )
    turned = reference.flags.f_contiguous and not reference.flags.c_contiguous
    if turned:
        # Border metrics do not depend on the order of axes, and the file's own is read faster.
        reference, prediction, spacing = reference.T, prediction.T, spacing[::-1]
    first, second = _number_classes(reference, classes), _number_classes(prediction, classes)
    sizes_first, sizes_second, shared = _count(first, second, len(classes))
    borders_first = find_borders(first, len(classes))
    borders_second = find_borders(second, len(classes))

    voxel_ml = math.prod(spacing) / 1000
    rows: list[CaseRow] = []
    for number, name in enumerate(classes.values(), start=1):
        in_first, in_second = int(sizes_first[number]), int(sizes_second[number])
        both = in_first + in_second
        one, other = borders_first[number - 1], borders_second[number - 1]
        distances = (
            directed_distances(one, other, spacing, single=more) if in_first and in_second else None
        )
        pooled, directed, near = _reduce(distances, both, tolerance_mm)
        row: CaseRow = {
            "target": name,
            "dice": 2 * int(shared[number]) / both if both else math.nan,
            "hd95": directed,
            "hd95_pooled": pooled,
            "nsd": near,
            "status": _status(in_first, in_second),
            "reference_ml": in_first * voxel_ml,
            "prediction_ml": in_second * voxel_ml,
            "diagonal_mm": float(diagonal),
        }
        if more:
            row["volume_error"] = in_second / in_first - 1 if in_first else math.nan
            row["assd"] = row["hd95_surfel"] = math.inf if both else math.nan
            if distances is not None:
                row["assd"] = float(np.concatenate(distances).mean())
                box = common_box(one, other)
                masks = first[box] == number, second[box] == number
                # The faces of a marching cube do depend on the order.
                row["hd95_surfel"] = (
                    surfel_hd95(masks[0].T, masks[1].T, spacing[::-1])
                    if turned
                    else surfel_hd95(*masks, spacing)
                )
        rows.append(row)
    return rows


def summarise(rows: pd.DataFrame) -> dict[str, Any]:
    """Aggregate the case table of one run; the order is ``DEFINITIONS["aggregation"]``.

    Only targets present in the reference count towards Dice and HD95, so that all methods are
    compared on the same pairs; organs predicted where there are none are counted apart.

    Args:
        rows: columns ``case, target, dice, hd95, status, diagonal_mm``, one row per (case, target).

    Returns:
        ``{"targets": {name: summary}, "mean": summary}``. A summary has ``dice_mean``, ``dice_n``,
        ``hd95_mean`` (mm; a missed target counts as the image's diagonal), ``hd95_n``, ``misses``
        (status pred_empty), ``false_positives`` (ref_empty) and ``both_empty``. In a target's
        summary the means are over cases; in ``mean`` each case is first averaged over its targets
        and ``n`` counts cases. A mean of nothing is None.

    Raises:
        ValueError: a column is missing, a (case, target) stands twice, or a value contradicts its
            status.
    """
    table = _checked(rows)
    present = table[table["status"].isin(["ok", "pred_empty"])]
    per_case = present.groupby("case", sort=False)[["dice", "hd95"]].mean()
    return {
        "targets": {
            str(target): _summary(present[present["target"] == target], group["status"])
            for target, group in table.groupby("target", sort=False)
        },
        "mean": _summary(per_case, table["status"]),
    }


def summarise_more(rows: pd.DataFrame) -> pd.DataFrame:
    """Aggregate every metric of one set of predictions by the rules of :func:`summarise`.

    Args:
        rows: As for :func:`summarise`, with any other columns of a case row or lesion row.

    Returns:
        One row a target and one of ``mean``, with the mean of each metric over the targets present
        in the reference (lesion-wise ones over all cases, as their definition covers empty ones),
        and ``present``, ``missed``, ``absent``, ``false``: counts.
    """
    import pandas as pd

    table = _checked(rows).join(rows[[name for name in (*AVERAGED, *LESIONS) if name in rows]])
    if "assd" in table:
        table["assd"] = table["assd"].where(table["status"] != "pred_empty", table["diagonal_mm"])
    table["present"] = table["status"].isin(["ok", "pred_empty"])
    averaged = ["dice", "hd95", *(name for name in AVERAGED if name in table)]
    lesions = [name for name in LESIONS if name in table]
    present = table[table["present"]]
    order = list(dict.fromkeys(table["target"]))
    means = present.groupby("target")[averaged].mean().reindex(order)
    means = means.join(table.groupby("target")[lesions].mean())
    per_case = present.groupby("case")[averaged].mean().mean()
    means.loc["mean"] = pd.concat([per_case, table.groupby("case")[lesions].mean().mean()])
    statuses = pd.crosstab(table["target"], table["status"]).reindex(
        index=order, columns=list(STATUSES), fill_value=0
    )
    statuses.loc["mean"] = statuses.sum()
    return means.assign(
        present=statuses["ok"] + statuses["pred_empty"],
        missed=statuses["pred_empty"],
        absent=statuses["ref_empty"] + statuses["both_empty"],
        false=statuses["ref_empty"],
    )


def _summary(values: pd.DataFrame, statuses: pd.Series[str]) -> dict[str, float | int | None]:
    return {
        "dice_mean": float(values["dice"].mean()) if len(values) else None,
        "dice_n": len(values),
        "hd95_mean": float(values["hd95"].mean()) if len(values) else None,
        "hd95_n": len(values),
        "misses": int((statuses == "pred_empty").sum()),
        "false_positives": int((statuses == "ref_empty").sum()),
        "both_empty": int((statuses == "both_empty").sum()),
    }


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a copy in which a missed target's HD95 is the image's diagonal, or refuse."""
    needed = ["case", "target", "dice", "hd95", "status", "diagonal_mm"]
    lacking = [column for column in needed if column not in rows.columns]
    if lacking:
        raise ValueError(f"case table: no column {', '.join(lacking)}")
    table = rows[needed].copy()
    twice = table.duplicated(["case", "target"])
    if twice.any():
        case, target = table.loc[twice, ["case", "target"]].iloc[0]
        raise ValueError(
            f"case table: case {case!r}, target {target!r} stands twice; summarise each run alone"
        )
    unknown = sorted(set(table["status"].astype(str)) - set(STATUSES))
    if unknown:
        raise ValueError(f"case table: unknown status {unknown[0]!r}; known: {', '.join(STATUSES)}")
    missed = table["status"] == "pred_empty"
    table["hd95"] = table["hd95"].where(~missed, table["diagonal_mm"]).astype(float)
    table["dice"] = table["dice"].astype(float)
    counted = missed | (table["status"] == "ok")
    for column in ("dice", "hd95"):
        broken = counted & ~np.isfinite(table[column])
        if broken.any():
            case, target, status = table.loc[broken, ["case", "target", "status"]].iloc[0]
            source = "diagonal_mm" if column == "hd95" and status == "pred_empty" else column
            raise ValueError(
                f"case table: case {case!r}, target {target!r} is {status} but has no {source}"
            )
    return table


def _status(in_reference: int, in_prediction: int) -> Status:
    if in_reference and in_prediction:
        return "ok"
    if in_reference:
        return "pred_empty"
    return "ref_empty" if in_prediction else "both_empty"


def _reduce(
    distances: tuple[Distances, Distances] | None, both: int, tolerance_mm: float
) -> tuple[float, float, float]:
    """Reduce the distances, measured once, to (pooled HD95, HD95, surface Dice)."""
    if distances is None:
        return (math.inf, math.inf, 0.0) if both else (math.nan, math.nan, math.nan)
    forth, back = distances
    together = np.concatenate([forth, back])
    directed = max(np.percentile(forth, 95), np.percentile(back, 95))
    near = np.count_nonzero(together <= tolerance_mm + ROUNDING_MM) / len(together)
    return float(np.percentile(together, 95)), float(directed), near


def _number_classes(labels: NDArray[Any], classes: Mapping[int, str]) -> NDArray[Any]:
    """Renumber the classes to 1..K in a small unsigned type; other labels become 0."""
    small = np.min_scalar_type(len(classes))
    top = max(classes)
    in_order = list(classes) == list(range(1, len(classes) + 1))
    if in_order and labels.min() >= 0 and labels.max() <= top:
        return np.ascontiguousarray(labels, small)
    table = np.zeros(top + 2, small)
    table[list(classes)] = np.arange(1, len(classes) + 1)
    beyond = min(top + 1, np.iinfo(labels.dtype).max)
    return np.ascontiguousarray(table[np.clip(labels, 0, beyond)])


def _count(
    first: NDArray[Any], second: NDArray[Any], count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Count each class's voxels ``(K + 1,)`` in the first, in the second and in both volumes."""
    flat_first, flat_second = first.reshape(-1), second.reshape(-1)
    marked = np.flatnonzero((flat_first | flat_second) != 0)
    own, other = flat_first[marked], flat_second[marked]
    first_size, second_size, shared = (
        np.bincount(labels, minlength=count + 1) for labels in (own, other, own[own == other])
    )
    return first_size, second_size, shared


def _validate(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    classes: Mapping[int, str],
    diagonal: float | None,
    tolerance_mm: float,
) -> None:
    for role, array in (("reference", reference), ("prediction", prediction)):
        if array.ndim != 3 or not array.size:
            raise ValueError(f"{role}: shape {array.shape}; give a label map (X, Y, Z)")
        if array.dtype.kind not in "iu":
            raise ValueError(f"{role}: dtype {array.dtype}; give integer labels")
    if reference.shape != prediction.shape:
        raise ValueError(
            f"reference {reference.shape} and prediction {prediction.shape} differ in shape;"
            " resample the prediction to the reference's grid first"
        )
    if len(spacing) != 3 or not all(math.isfinite(side) and side > 0 for side in spacing):
        raise ValueError(f"spacing {tuple(spacing)}: give three positive sizes in mm")
    known = bool(classes) and min(classes) >= 1 and max(classes) <= 65535
    if not known or len(set(classes.values())) < len(classes):
        raise ValueError(f"classes {dict(classes)}: give labels 1 to 65535 with distinct names")
    if diagonal is not None and not (math.isfinite(diagonal) and diagonal > 0):
        raise ValueError(f"diagonal {diagonal}: give a positive length in mm")
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise ValueError(f"tolerance_mm {tolerance_mm}: give a length of at least 0 mm")
