"""Metrics of one 15-class 256x256x160 case: ours against MONAI and surface-distance, values equal.

Run by ``make speed``: for each comparison a JSON line, then words; exit code 1 where values differ
or a ratio is below its target. Twice: organs, and organs in 2 % speckle of one class, the worst
case. ``more`` is the full set of ``bench evaluate`` (Dice, HD95, pooled HD95, surface Dice, ASSD,
surfel HD95, volume error); MONAI computes Dice, HD95, surface Dice and ASSD of it,
surface-distance its HD95, surface Dice and mean distances. Times are CPU seconds of one thread.
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
import surface_distance
import torch
from monai.metrics import (
    DiceMetric,
    HausdorffDistanceMetric,
    SurfaceDiceMetric,
    SurfaceDistanceMetric,
)
from monai.networks.utils import one_hot
from numpy.typing import NDArray

from medssl_bench.analysis.metrics import CaseRow, case_metrics

SHAPE = (256, 256, 160)
SPACING = (1.5, 1.5, 2.0)
CLASSES = {number: f"organ_{number}" for number in range(1, 16)}
TARGET, TARGET_SURFELS = 10.0, 5.0
REPEATS = 2
SPECKLE = 0.02

Labels = NDArray[np.uint8]
Measured = tuple[float, NDArray[np.float64]]
"""Seconds and values."""


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


def speckled(labels: Labels, seed: int) -> Labels:
    """Return the labels with single voxels of class 1 all over."""
    noisy = labels.copy()
    noisy[np.random.default_rng(seed).random(SHAPE) < SPECKLE] = 1
    return noisy


def monais_set(first: torch.Tensor, second: torch.Tensor) -> NDArray[np.float64]:
    """Return Dice, HD95, surface Dice and ASSD ``(15, 4)``."""
    near = SurfaceDiceMetric([1.0] * len(CLASSES), reduction="none")
    mean = SurfaceDistanceMetric(symmetric=True, reduction="none")
    more = [
        np.asarray(near(second, first, spacing=SPACING)[0]),
        np.asarray(mean(second, first, spacing=SPACING)[0]),
    ]
    return np.column_stack([with_monai(first, second), *more]).astype(np.float64)


def surfels_set(reference: Labels, prediction: Labels) -> NDArray[np.float64]:
    """Return surface-distance's HD95 ``(15, 1)``; its other metrics are computed on the way."""
    values = []
    for number in CLASSES:
        found = surface_distance.compute_surface_distances(
            reference == number, prediction == number, SPACING
        )
        values.append(surface_distance.compute_robust_hausdorff(found, 95))
        surface_distance.compute_surface_dice_at_tolerance(found, 1.0)
        surface_distance.compute_average_surface_distance(found)
    return np.array(values)[:, None]


def full_set(reference: Labels, prediction: Labels) -> NDArray[np.float64]:
    """Return Dice, HD95, surface Dice, ASSD and surfel HD95 ``(15, 5)`` of the full set."""
    rows = case_metrics(reference, prediction, SPACING, CLASSES, more=True)
    names = ("dice", "hd95", "nsd", "assd", "hd95_surfel")
    return np.array([[row[name] for name in names] for row in rows])  # type: ignore[literal-required]


def measure(
    ours: Callable[[], NDArray[np.float64]], theirs: Callable[[], NDArray[np.float64]]
) -> tuple[Measured, Measured]:
    """Return the least CPU time of a few runs by turns in seconds, and the values."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(REPEATS):
        values = []
        for spent, run in zip(seconds, (ours, theirs), strict=True):
            start = time.process_time()
            values.append(run())
            spent.append(time.process_time() - start)
    return (min(seconds[0]), values[0]), (min(seconds[1]), values[1])


def report(what: str, rival: str, ours: Measured, theirs: Measured, target: float) -> bool:
    """Print one comparison; values may differ by 1e-6 of Dice and 1e-4 mm."""
    error = float(np.abs(ours[1] - theirs[1]).max())
    ratio, equal = theirs[0] / ours[0], error < 1e-4
    good = equal and ratio >= target
    print(
        json.dumps(
            {
                "name": "metrics",
                "what": what,
                "rival": rival,
                "ours_s": round(ours[0], 4),
                "theirs_s": round(theirs[0], 4),
                "ratio": round(ratio, 1),
                "target": target,
                "equal": equal,
                "max_difference": error,
                "threads": torch.get_num_threads(),
                "ok": good,
            }
        )
    )
    print(
        f"  {what}: {ours[0]:.3f} s, {rival} {theirs[0]:.3f} s, {ratio:.1f} times slower (target"
        f" {target:g}); largest difference {error:.1e}",
        flush=True,
    )
    return good


def main() -> int:
    """Measure all and print the ratios."""
    warnings.simplefilter("ignore")
    good = True
    plain = case()
    noisy = speckled(plain[0], 1), speckled(plain[1], 2)
    for name, (reference, prediction) in (("organs", plain), ("speckle", noisy)):
        first, second = as_one_hot(reference), as_one_hot(prediction)
        few, monai = measure(
            lambda: with_ours(reference, prediction),  # noqa: B023
            lambda: with_monai(first, second),  # noqa: B023
        )
        good &= report(f"{name}, Dice + HD95", "MONAI", few, monai, TARGET)
        full, monai = measure(
            lambda: full_set(reference, prediction),  # noqa: B023
            lambda: monais_set(first, second),  # noqa: B023
        )
        good &= report(f"{name}, full set", "MONAI", (full[0], full[1][:, :4]), monai, TARGET)
        full, surfels = measure(
            lambda: full_set(reference, prediction),  # noqa: B023
            lambda: surfels_set(reference, prediction),  # noqa: B023
        )
        ours = full[0], full[1][:, 4:]
        good &= report(f"{name}, full set", "surface-distance", ours, surfels, TARGET_SURFELS)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
