"""Lesion by lesion, as BraTS 2023 scores: Dice and HD95 of every lesion, false ones included.

Lesions of the reference that touch once dilated are one. To each belong all predicted components
that touch it once dilated, whole. A lesion without any and a predicted component without any lesion
score Dice 0 and the penalty as their distance (facts: the challenge's public code; the paper is
Moawad et al., arXiv 2306.00838).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medssl_bench.analysis.surfels import Spacing, surfel_hd95

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LesionRules:
    """What a challenge says a lesion is."""

    dilation: int = 3
    """Voxels that lesions are dilated by, 18-neighbourhood."""
    ignored_mm3: float = 50.0
    """Lesions of the reference up to this volume are not scored."""
    penalty_mm: float = 374.0
    """Distance of a missed or false lesion: the diagonal of BraTS's 240 x 240 x 155 mm."""


LESION_RULES = {
    "gli": LesionRules(),
    "ssa": LesionRules(),
    "ped": LesionRules(),
    "men": LesionRules(dilation=1),
    "met": LesionRules(dilation=1, ignored_mm3=2.0),
}
"""By task of BraTS 2023."""


class LesionRow(TypedDict):
    """Lesion-wise scores of one region of one case."""

    lesion_dice: float
    """Mean over scored lesions and false ones; 1 where there are none of either."""
    lesion_hd95: float
    """The same of HD95 (area-weighted, mm); 0 where there are none of either."""
    lesions: int
    """Scored lesions of the reference."""
    lesions_missed: int
    """Of these, how many no predicted component touches."""
    lesions_false: int
    """Predicted components that touch no lesion, of any size."""
    lesions_ignored: int
    """Lesions of the reference too small to be scored; what touches them is not false."""


EVERYWHERE = np.ones((3, 3, 3), bool)
"""26 neighbours: what makes a component."""
AROUND = ndimage.generate_binary_structure(3, 2)
"""18 neighbours: what dilates."""


def lesion_metrics(
    reference: Mask, prediction: Mask, spacing: Spacing, rules: LesionRules | None = None
) -> LesionRow:
    """Score a region lesion by lesion.

    Args:
        reference: ``(X, Y, Z)``.
        prediction: The same grid.
        spacing: Voxel size in mm along the three axes.
        rules: Of the challenge; by default those of BraTS 2023's gliomas.
    """
    rules = rules or LesionRules()
    lesions, count = _lesions(reference, rules)
    components, n_components = ndimage.label(prediction, EVERYWHERE)
    voxel_mm3 = float(np.prod(spacing))
    touched = np.zeros(n_components + 1, bool)
    dice: list[float] = []
    distances: list[float] = []
    missed = ignored = 0
    for number in range(1, count + 1):
        lesion = lesions == number
        near = ndimage.binary_dilation(lesion, AROUND, rules.dilation)
        belonging = np.setdiff1d(np.unique(components[near]), [0])
        touched[belonging] = True
        size = int(lesion.sum())
        if size * voxel_mm3 <= rules.ignored_mm3:
            ignored += 1
            continue
        if not len(belonging):
            missed += 1
            dice.append(0.0)
            distances.append(rules.penalty_mm)
            continue
        found = np.isin(components, belonging)
        dice.append(2 * int((lesion & found).sum()) / (size + int(found.sum())))
        box = _box(lesion | found)
        distances.append(surfel_hd95(lesion[box], found[box], spacing))
    false = int((~touched[1:]).sum())
    scored = len(dice)
    total = scored + false
    return {
        "lesion_dice": sum(dice) / total if total else 1.0,
        "lesion_hd95": (sum(distances) + false * rules.penalty_mm) / total if total else 0.0,
        "lesions": scored,
        "lesions_missed": missed,
        "lesions_false": false,
        "lesions_ignored": ignored,
    }


def _lesions(reference: Mask, rules: LesionRules) -> tuple[NDArray[np.int32], int]:
    """Number the lesions; those whose dilated masks touch have one number."""
    if not reference.any():
        return np.zeros(reference.shape, np.int32), 0
    dilated = ndimage.binary_dilation(reference, AROUND, rules.dilation)
    joined, count = ndimage.label(dilated, EVERYWHERE)
    return np.where(reference, joined, 0).astype(np.int32), int(count)


def _box(mask: Mask) -> tuple[slice, slice, slice]:
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return found[0], found[1], found[2]
