"""Dice and HD95 of one 15-class 256x256x160 case: ours against MONAI's metrics, values equal.

Run by ``make speed``: a JSON line, then a table; exit code 1 where values differ or the ratio is
below the target.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric
from monai.networks.utils import one_hot
from numpy.typing import NDArray

from medssl_bench.analysis.metrics import CaseRow, case_metrics

SHAPE = (256, 256, 160)
SPACING = (1.5, 1.5, 2.0)
CLASSES = {number: f"organ_{number}" for number in range(1, 16)}
TARGET = 10.0
REPEATS = 3

Labels = NDArray[np.uint8]


def organs(shift: int) -> Labels:
    """Draw 15 ellipsoids of 8 to 40 voxels, moved by ``shift`` voxels along the first axis."""
    random = np.random.default_rng(0)
    grid = np.ogrid[tuple(slice(size) for size in SHAPE)]
    labels = np.zeros(SHAPE, np.uint8)
    for number in CLASSES:
        centre = random.uniform(0.25, 0.75, 3) * SHAPE + (shift, 0, 0)
        radii = random.uniform(8, 40, 3)
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1
        labels[inside] = number
    return labels


def case() -> tuple[Labels, Labels]:
    """Return reference and prediction; the prediction is off by 2 voxels with a far island."""
    prediction = organs(shift=2)
    prediction[3:7, 3:7, 3:7] = 5
    return organs(shift=0), prediction


def with_monai(first: torch.Tensor, second: torch.Tensor) -> NDArray[np.float64]:
    """Return Dice and HD95 ``(15, 2)``; making the one-hot ``(1, 16, X, Y, Z)`` is not timed."""
    dice = DiceMetric(include_background=False, reduction="none")
    distance = HausdorffDistanceMetric(include_background=False, percentile=95, reduction="none")
    values = [
        np.asarray(dice(second, first)[0]),
        np.asarray(distance(second, first, spacing=SPACING)[0]),
    ]
    return np.stack(values, axis=1).astype(np.float64)


def as_one_hot(labels: Labels) -> torch.Tensor:
    """Return ``(1, 16, X, Y, Z)`` as MONAI's metrics expect it."""
    return one_hot(torch.from_numpy(labels)[None, None], num_classes=len(CLASSES) + 1)


def with_ours(reference: Labels, prediction: Labels) -> NDArray[np.float64]:
    """Return Dice and HD95 ``(15, 2)``; surface Dice and pooled HD95 are computed on the way."""
    rows: list[CaseRow] = case_metrics(reference, prediction, SPACING, CLASSES)
    return np.array([(row["dice"], row["hd95"]) for row in rows])


def measure(run: Callable[[], NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
    """Return the shortest of a few runs in seconds, and the values."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        values = run()
        seconds.append(time.perf_counter() - start)
    return min(seconds), values


def main() -> int:
    """Measure both in one run and print the ratio."""
    warnings.simplefilter("ignore")
    reference, prediction = case()
    ours, our_values = measure(lambda: with_ours(reference, prediction))
    first, second = as_one_hot(reference), as_one_hot(prediction)
    theirs, their_values = measure(lambda: with_monai(first, second))
    error = np.abs(our_values - their_values).max(axis=0)
    equal = bool(error[0] < 1e-6 and error[1] < 1e-4)
    ratio = theirs / ours
    result = {
        "name": "metrics",
        "what": "Dice+HD95, 15 classes, 256x256x160",
        "ours_s": round(ours, 4),
        "theirs_s": round(theirs, 4),
        "ratio": round(ratio, 1),
        "target": TARGET,
        "equal": equal,
        "max_difference": {"dice": float(error[0]), "hd95_mm": float(error[1])},
        "threads": torch.get_num_threads(),
        "ok": equal and ratio >= TARGET,
    }
    print(json.dumps(result))
    print(f"Dice + HD95 of one case, 15 classes, {'x'.join(map(str, SHAPE))}, best of {REPEATS}")
    print(f"  {'medssl-bench':<14}{ours:8.3f} s")
    print(f"  {'MONAI':<14}{theirs:8.3f} s   {ratio:.1f} times slower (target {TARGET:g})")
    print(f"  largest difference: Dice {error[0]:.1e}, HD95 {error[1]:.1e} mm")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
