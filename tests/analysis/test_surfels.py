"""Surfel HD95 and ASSD equal DeepMind's and MONAI's; lesions are scored as BraTS scores them."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import compute_average_surface_distance
from monai.metrics.utils import create_table_neighbour_code_to_surface_area

from medssl_bench.analysis.lesions import LESION_RULES, LesionRules, lesion_metrics
from medssl_bench.analysis.metrics import DEFINITIONS, MORE, case_metrics, definitions
from medssl_bench.analysis.surfels import find_surfels, surfel_areas

SPACINGS = [(1.0, 1.0, 1.0), (0.8, 0.8, 5.0), (1.5, 0.7, 2.3)]


def speckle(seed, share, shape=(9, 8, 7)):
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


def box(*corners, shape=(24, 24, 24)):
    mask = np.zeros(shape, bool)
    for low, size in corners:
        mask[tuple(slice(start, start + size) for start in low)] = True
    return mask


def theirs(first, second, spacing):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = surface_distance.compute_surface_distances(first > 0, second > 0, spacing)
    return surface_distance.compute_robust_hausdorff(found, 95)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_surfel_hd95_equals_deepminds(spacing, order):
    for seed in range(12):
        first = np.asarray(speckle(seed, 0.3), order=order)
        second = np.asarray(speckle(seed + 50, 0.2), order=order)
        (row,) = case_metrics(first, second, spacing, {1: "organ"}, more=True)
        assert row["hd95_surfel"] == pytest.approx(theirs(first, second, spacing), rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_assd_equals_monais(spacing):
    for seed in range(4):
        first, second = speckle(seed, 0.3), speckle(seed + 50, 0.2)
        (row,) = case_metrics(first, second, spacing, {1: "organ"}, more=True)
        hot = [torch.from_numpy(np.stack([one == 0, one == 1])[None]) for one in (second, first)]
        expected = compute_average_surface_distance(*hot, symmetric=True, spacing=spacing)
        assert row["assd"] == pytest.approx(float(expected), abs=1e-4)


def test_a_cubes_surface_is_its_faces_with_cut_edges():
    """Far from edges a corner of a face owns one voxel's face: the area is that of spacing."""
    surfels = find_surfels(box(((4, 4, 4), 8)))
    areas = surfel_areas((1.0, 1.0, 2.0))[surfels.codes]
    inner = np.isin(surfels.corners.points[:, 2], [4, 12])
    inner &= ((surfels.corners.points[:, :2] > 4) & (surfels.corners.points[:, :2] < 12)).all(1)
    assert inner.sum() == 2 * 7 * 7
    np.testing.assert_allclose(areas[inner], 1.0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_areas_equal_monais_table(spacing):
    expected = create_table_neighbour_code_to_surface_area(spacing)[0]
    np.testing.assert_allclose(surfel_areas(spacing), expected, rtol=1e-6)


def test_scoring_a_case_loads_no_training_library():
    """A process that scores starts in a second, not in seven."""
    code = (
        "import sys, numpy as np\n"
        "from medssl_bench.analysis.lesions import lesion_metrics\n"
        "from medssl_bench.analysis.metrics import case_metrics\n"
        "from medssl_bench.predictions import score_case\n"
        "mask = np.ones((4, 4, 4), np.uint8)\n"
        "case_metrics(mask, mask, (1.0, 1.0, 1.0), {1: 'organ'}, more=True)\n"
        "lesion_metrics(mask > 0, mask > 0, (1.0, 1.0, 1.0))\n"
        "print({'torch', 'monai'} & set(sys.modules))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_volume_error_is_signed_and_relative():
    reference, prediction = box(((2, 2, 2), 4)), box(((2, 2, 2), 5))
    (row,) = case_metrics(
        reference.astype(int), prediction.astype(int), (1, 1, 1), {1: "organ"}, more=True
    )
    assert row["volume_error"] == pytest.approx(125 / 64 - 1)


@pytest.mark.parametrize(
    ("reference", "prediction", "distance", "error"),
    [(0, 0, math.nan, math.nan), (1, 0, math.inf, -1.0), (0, 1, math.inf, math.nan)],
)
def test_empty_masks_follow_the_rules_of_hd95(reference, prediction, distance, error):
    first, second = np.zeros((4, 4, 4), int), np.zeros((4, 4, 4), int)
    first[1, 1, 1], second[1, 1, 1] = reference, prediction
    (row,) = case_metrics(first, second, (1, 1, 1), {1: "organ"}, more=True)
    found = [row["assd"], row["hd95_surfel"], row["volume_error"]]
    np.testing.assert_equal(found, [distance, distance, error])


def test_runs_record_what_they_recorded():
    (row,) = case_metrics(speckle(0, 0.3), speckle(1, 0.3), (1, 1, 1), {1: "organ"})
    assert not set(MORE) & set(row)
    assert definitions() == DEFINITIONS
    assert set(definitions(more=True)) == set(DEFINITIONS) | set(MORE)


def test_lesions_worked_by_hand():
    """A 4^3 lesion hit by a 4^3 prediction moved by 1, one missed, one tiny, one false.

    Hit: 48 of 64 voxels shared, Dice 0.75, HD95 1 mm. Missed: 0 and 374. The tiny one (8 voxels)
    is not scored, and what lies on it is not false. False: 0 and 374. So three are averaged.
    """
    reference = box(((2, 2, 2), 4), ((14, 2, 2), 4), ((2, 14, 14), 2))
    prediction = box(((3, 2, 2), 4), ((2, 14, 14), 2), ((16, 16, 16), 3))
    found = lesion_metrics(reference, prediction, (1.0, 1.0, 1.0))
    assert found["lesion_dice"] == pytest.approx(0.75 / 3)
    hit = theirs(box(((2, 2, 2), 4)), box(((3, 2, 2), 4)), (1.0, 1.0, 1.0))
    assert found["lesion_hd95"] == pytest.approx((hit + 2 * 374) / 3)
    counts = {name: found[name] for name in found if name.startswith("lesions")}
    assert counts == {
        "lesions": 2, "lesions_missed": 1, "lesions_false": 1, "lesions_ignored": 1,
    }  # fmt: skip


def test_lesions_that_touch_once_dilated_are_one():
    """Gap of 5 voxels: dilated by 3 from both sides they meet, by 1 they do not."""
    reference = box(((2, 2, 2), 4), ((11, 2, 2), 4))
    prediction = box(((2, 2, 2), 4))
    together = lesion_metrics(reference, prediction, (1.0, 1.0, 1.0), LESION_RULES["gli"])
    assert together["lesions"] == 1 and together["lesion_dice"] == pytest.approx(2 * 64 / 192)
    apart = lesion_metrics(reference, prediction, (1.0, 1.0, 1.0), LESION_RULES["men"])
    assert apart["lesions"] == 2 and apart["lesion_dice"] == pytest.approx(0.5)


def test_a_prediction_beside_a_lesion_belongs_to_it_when_dilation_reaches_it():
    reference, prediction = box(((4, 4, 4), 4)), box(((10, 4, 4), 4))
    near = lesion_metrics(reference, prediction, (1.0, 1.0, 1.0), LesionRules(dilation=3))
    assert near["lesions_missed"] == near["lesions_false"] == 0 and near["lesion_dice"] == 0
    assert near["lesion_hd95"] < 374
    far = lesion_metrics(reference, prediction, (1.0, 1.0, 1.0), LesionRules(dilation=2))
    assert (far["lesions_missed"], far["lesions_false"]) == (1, 1)
    assert far["lesion_hd95"] == 374


def test_without_any_lesion_the_score_is_perfect():
    nothing = box()
    found = lesion_metrics(nothing, nothing, (1.0, 1.0, 1.0))
    assert (found["lesion_dice"], found["lesion_hd95"], found["lesions"]) == (1.0, 0.0, 0)
    false = lesion_metrics(nothing, box(((2, 2, 2), 3)), (1.0, 1.0, 1.0))
    assert (false["lesion_dice"], false["lesion_hd95"], false["lesions_false"]) == (0, 374, 1)


def test_the_threshold_is_a_volume():
    """7 voxels of 8 mm^3 are 56 mm^3, above 50; the same 7 voxels of 1 mm^3 are below."""
    reference = box(((2, 2, 2), 2))
    reference[2, 2, 2] = False
    assert lesion_metrics(reference, reference, (2.0, 2.0, 2.0))["lesions"] == 1
    assert lesion_metrics(reference, reference, (1.0, 1.0, 1.0))["lesions_ignored"] == 1
