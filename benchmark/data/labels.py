"""Label maps as files hold them, turned into the class ids of a task."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from medssl_bench.errors import DataError

UNDEFINED = -1
"""What ``remap`` makes of a raw id that would pass for another's but that the dataset lacks."""

ROUNDING = 1e-3
"""How far a stored float may lie from the id it means."""

LARGEST = 255


def class_ids(
    array: NDArray[np.generic],
    remap: Mapping[int, int] | None = None,
    classes: Collection[int] | None = None,
) -> NDArray[np.uint8]:
    """Round, apply ``remap`` and check that nothing but 0 and ``classes`` is left.

    What is returned may be ``array`` itself.

    Args:
        array: ``(X, Y, Z)`` of any number type.
        remap: Raw id to the id it means here, or ``UNDEFINED``; ids not named stay.
        classes: Known ids after ``remap``; None admits 0 to 255.

    Raises:
        DataError: NaN, values that are no whole numbers, unknown ids. The message leaves the
            file's name to the caller.
    """
    whole = _rounded(array)
    if whole.min() >= 0 and whole.max() <= LARGEST:
        small = whole.astype(np.uint8, copy=False)
        meanings = _meanings(ids_present(small), remap, classes)
        if all(value == to for value, to in meanings.items()):
            return small
        table = np.arange(LARGEST + 1, dtype=np.uint8)
        for value, to in meanings.items():
            table[value] = to
        return table[small]
    result = np.zeros(whole.shape, dtype=np.uint8)
    present = [int(value) for value in np.unique(whole)]
    for value, to in _meanings(present, remap, classes).items():
        result[whole == value] = to
    return result


def _meanings(
    present: list[int], remap: Mapping[int, int] | None, classes: Collection[int] | None
) -> dict[int, int]:
    """Return what each id present means; an unknown one is an error."""
    meaning = {value: (remap or {}).get(value, value) for value in present}
    known = set(range(LARGEST + 1)) if classes is None else {0, *classes}
    unknown = [value for value, to in meaning.items() if to not in known]
    if unknown:
        shown = ", ".join(str(value) for value in unknown[:20])
        named = {value: value for value in known} | dict(remap or {})
        raw = {value for value, to in named.items() if to in known}
        raise DataError(
            f"label ids {shown} are unknown here (known: {_span(raw)});"
            " name them in the task's classes or remap"
        )
    return meaning


def ids_present(label: NDArray[np.uint8]) -> list[int]:
    """Return the ids found in ``(X, Y, Z)``, ascending.

    Looked at are only the voxels that differ from the one before them in memory, and the first:
    every id begins at one of these, and they are few.
    """
    found = np.zeros(LARGEST + 1, dtype=np.bool_)
    # From the axis farthest apart in memory to the closest; a view, whatever the directions.
    stored = label.transpose(np.argsort(np.abs(label.strides))[::-1])
    for plane in stored:
        rows = np.ascontiguousarray(plane).reshape(-1)
        found[rows[:1]] = True
        found[rows[1:][rows[1:] != rows[:-1]]] = True
    return [int(name) for name in np.flatnonzero(found)]


def _rounded(array: NDArray[np.generic]) -> NDArray[np.integer]:
    if np.issubdtype(array.dtype, np.integer):
        return cast(NDArray[np.integer], array)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    values = array.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise DataError("the label holds values that are not finite (NaN or infinite); repair it")
    rounded = np.rint(values)
    off = np.abs(values - rounded) > ROUNDING
    if off.any():
        raise DataError(
            f"the label holds {values[off].flat[0]:g}, which is no whole number; was it resampled"
            " with interpolation?"
        )
    return rounded.astype(np.int64)


def _span(known: set[int]) -> str:
    ids = sorted(known)
    if len(ids) > 2 and ids == list(range(ids[0], ids[-1] + 1)):
        return f"{ids[0]}-{ids[-1]}"
    return ", ".join(str(value) for value in ids)
