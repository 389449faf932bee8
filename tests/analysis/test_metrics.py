"""Metrics equal MONAI, medpy and brute force; what is empty, missed or wrong is not hidden."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from medpy.metric.binary import hd95 as medpy_hd95
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy.spatial.distance import cdist

from medssl_bench.analysis.distances import (
    directed_distances,
    near_offsets,
    scan,
    transform,
    tree,
)
from medssl_bench.analysis.metrics import (
    DEFINITIONS,
    STATUSES,
    case_metrics,
    definitions,
)
from medssl_bench.analysis.surface import MARGIN, find_borders

SPACINGS = [(1.0, 1.0, 1.0), (0.8, 0.8, 5.0), (1.5, 0.7, 2.3)]
FACES = [step for step in itertools.product((-1, 0, 1), repeat=3) if np.abs(step).sum() == 1]


def blobs(seed, shape=(24, 20, 16), classes=3):
    """Random overlapping boxes of several classes, some cut off by the volume's faces."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for number in [*range(1, classes + 1)] * 2:
        start = np.maximum([random.integers(-3, size - 3) for size in shape], 0)
        labels[tuple(slice(low, low + random.integers(1, 10)) for low in start)] = number
    return labels


def speckle(seed, share, shape=(20, 20, 20)):
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


def one_hot(labels, classes):
    return torch.stack([torch.from_numpy(labels == n) for n in range(classes + 1)])[None].float()


def brute_border(mask):
    """List border voxels one by one: a face neighbour is outside the mask or the volume."""
    inside = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
    return np.array(
        [
            v
            for v in sorted(inside)
            if any(tuple(np.add(v, s).tolist()) not in inside for s in FACES)
        ]
    )


def brute_distances(first, second, spacing):
    """Both directed sets of distances in mm, every pair measured."""
    pairs = cdist(brute_border(first) * spacing, brute_border(second) * spacing)
    return pairs.min(axis=1), pairs.min(axis=0)


def single(reference, prediction, spacing=(1.0, 1.0, 1.0), **options):
    return case_metrics(reference, prediction, spacing, {1: "organ"}, **options)[0]


def empty(shape=(6, 6, 6)):
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_all_classes_equal_monai(seed, spacing):
    reference, prediction = blobs(seed), blobs(seed + 100)
    rows = case_metrics(reference, prediction, spacing, {1: "a", 2: "b", 3: "c"})
    first, second = one_hot(reference, 3), one_hot(prediction, 3)
    assert {row["status"] for row in rows} == {"ok"}
    dice = compute_dice(second, first, include_background=False)[0]
    hd95 = compute_hausdorff_distance(second, first, percentile=95, spacing=spacing)[0]
    near = compute_surface_dice(second, first, [1.0] * 3, spacing=spacing)[0]
    np.testing.assert_allclose([row["dice"] for row in rows], dice, atol=1e-6)
    np.testing.assert_allclose([row["hd95"] for row in rows], hd95, atol=1e-4)
    np.testing.assert_allclose([row["nsd"] for row in rows], near, atol=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(4))
def test_pooled_equals_medpy_and_lies_between_the_directed(seed, spacing):
    reference, prediction = blobs(seed), blobs(seed + 100)
    for number, row in enumerate(
        case_metrics(reference, prediction, spacing, {1: "a", 2: "b", 3: "c"}), start=1
    ):
        expected = medpy_hd95(prediction == number, reference == number, voxelspacing=spacing)
        assert row["hd95_pooled"] == pytest.approx(expected, abs=1e-9)
        directed = brute_distances(reference == number, prediction == number, spacing)
        low, high = sorted(np.percentile(distances, 95) for distances in directed)
        assert low - 1e-9 <= row["hd95_pooled"] <= high + 1e-9
        assert row["hd95"] == pytest.approx(high, abs=1e-9)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 4.6])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_everything_equals_brute_force(spacing, tolerance):
    shape = (9, 8, 7)
    for seed in range(4):
        reference, prediction = speckle(seed, 0.3, shape), speckle(seed + 50, 0.2, shape)
        row = single(reference, prediction, spacing, tolerance_mm=tolerance)
        forth, back = brute_distances(reference, prediction, spacing)
        together = np.concatenate([forth, back])
        shared = np.sum((reference == 1) & (prediction == 1))
        assert row["dice"] == 2 * shared / (reference.sum() + prediction.sum())
        assert row["hd95"] == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)))
        assert row["hd95_pooled"] == pytest.approx(np.percentile(together, 95))
        assert row["nsd"] == pytest.approx(np.mean(together <= tolerance + 1e-6))
        assert row["reference_ml"] == pytest.approx(reference.sum() * math.prod(spacing) / 1000)
        assert row["prediction_ml"] == pytest.approx(prediction.sum() * math.prod(spacing) / 1000)


@pytest.mark.parametrize("seed", range(3))
def test_borders_equal_those_found_voxel_by_voxel(seed):
    labels = blobs(seed, (11, 10, 9), classes=4)
    for number, border in enumerate(find_borders(labels, 4), start=1):
        np.testing.assert_array_equal(border.points, brute_border(labels == number).reshape(-1, 3))
        np.testing.assert_array_equal(
            border.indices, np.ravel_multi_index(tuple(border.points.T), border.grid)
        )


@pytest.mark.parametrize("share", [0.002, 0.01, 0.3, 0.6])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_nearby_offsets_tree_and_distance_transform_agree(spacing, share):
    first, second = (find_borders(speckle(seed, share), 1)[0] for seed in (1, 2))
    found = directed_distances(first, second, spacing)
    for queries, targets, distances in ((first, second, found[0]), (second, first, found[1])):
        expected = tree(queries.points, targets.points, spacing)
        np.testing.assert_allclose(distances, expected, rtol=1e-12)
        for single, tolerance in ((False, 1e-12), (True, 1e-6)):
            other = transform(queries.points, targets.points, spacing, single)
            np.testing.assert_allclose(other, expected, rtol=tolerance)
        near = np.full(len(expected), np.nan)
        far = scan(queries, targets, spacing, near)
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(near)), far)
        np.testing.assert_allclose(np.delete(near, far), np.delete(expected, far), rtol=1e-12)
        assert share < 0.3 or not len(far)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_offsets_are_all_those_shorter_than_any_beyond_the_margin(spacing):
    steps, lengths = near_offsets(spacing)
    assert (np.diff(lengths) >= 0).all() and len(np.unique(steps, axis=0)) == len(steps)
    wide = np.array(list(itertools.product(range(-MARGIN - 2, MARGIN + 3), repeat=3)))
    beyond = wide[np.abs(wide).max(axis=1) > MARGIN]
    assert lengths[-1] < np.linalg.norm(beyond * spacing, axis=1).min()
    inside = wide[np.abs(wide).max(axis=1) <= MARGIN]
    near = np.linalg.norm(inside * spacing, axis=1) < (MARGIN + 1) * min(spacing)
    assert near.sum() == len(steps)


@pytest.mark.parametrize("single_precision", [True, False])
@pytest.mark.parametrize("share", [0.0005, 0.3])
def test_what_is_far_and_what_is_near_are_measured_alike(share, single_precision):
    """Sparse and dense speckle far from an organ, some of it beside."""
    first, second = np.zeros((2, 60, 40, 30), np.uint8)
    first[:6, :6, :6] = 1
    second[2:] = speckle(5, share, (58, 40, 30))
    second[3, 3, 3] = 1
    one, other = find_borders(first, 1)[0], find_borders(second, 1)[0]
    pairs = cdist(one.points * (1.5, 0.7, 2.3), other.points * (1.5, 0.7, 2.3))
    found = directed_distances(one, other, (1.5, 0.7, 2.3), single=single_precision)
    np.testing.assert_allclose(found[0], pairs.min(axis=1), rtol=1e-6 if single_precision else 1e-9)
    np.testing.assert_allclose(found[1], pairs.min(axis=0), rtol=1e-6 if single_precision else 1e-9)


@pytest.mark.parametrize("permutation", list(itertools.permutations(range(3))))
def test_axis_order_and_memory_layout_do_not_matter(permutation):
    reference, prediction, spacing = blobs(7), blobs(8), (0.8, 1.1, 5.0)
    classes = {1: "a", 2: "b", 3: "c"}
    expected = pd.DataFrame(case_metrics(reference, prediction, spacing, classes))
    turned = [spacing[axis] for axis in permutation]
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda array: array):
        rows = case_metrics(
            layout(reference.transpose(permutation)),
            prediction.transpose(permutation),
            turned,
            classes,
        )
        pd.testing.assert_frame_equal(pd.DataFrame(rows), expected, rtol=1e-12)


def test_swapping_reference_and_prediction_swaps_only_volumes():
    reference, prediction, classes = blobs(1), blobs(2), {1: "a", 2: "b", 3: "c"}
    one = pd.DataFrame(case_metrics(reference, prediction, (1, 2, 3), classes))
    other = pd.DataFrame(case_metrics(prediction, reference, (1, 2, 3), classes))
    other = other.rename(columns={"reference_ml": "prediction_ml", "prediction_ml": "reference_ml"})
    pd.testing.assert_frame_equal(one, other[one.columns], rtol=1e-12)


def test_a_perfect_prediction_is_perfect_at_the_faces_too():
    labels = np.ones((5, 6, 7), np.uint8)
    row = single(labels, labels.copy())
    assert (row["dice"], row["hd95"], row["hd95_pooled"], row["nsd"]) == (1, 0, 0, 1)
    assert len(find_borders(labels, 1)[0].points) == 5 * 6 * 7 - 3 * 4 * 5


def test_single_voxels_across_thick_slices():
    reference, prediction = empty(), empty()
    reference[1, 2, 0] = prediction[4, 2, 2] = 1
    row = single(reference, prediction, (0.5, 0.5, 5.0))
    assert row["hd95"] == row["hd95_pooled"] == pytest.approx(math.hypot(1.5, 10))
    assert (row["dice"], row["nsd"], row["status"]) == (0, 0, "ok")
    assert row["reference_ml"] == pytest.approx(0.00125)


def test_one_slice_off_counts_in_millimetres():
    reference, prediction = empty((12, 12, 6)), empty((12, 12, 6))
    reference[2:10, 2:10, 1:4] = prediction[2:10, 2:10, 2:5] = 1
    assert single(reference, prediction, (0.8, 0.8, 5.0))["hd95"] == pytest.approx(5.0)


def test_a_distance_equal_to_the_tolerance_is_within_it():
    # 4 * 0.1 - 1 * 0.1 is a little more than 0.3 in binary.
    reference, prediction = empty(), empty()
    reference[1, 2, 2] = prediction[4, 2, 2] = 1
    assert single(reference, prediction, (0.1, 1.0, 1.0), tolerance_mm=0.3)["nsd"] == 1
    assert single(reference, prediction, (0.1, 1.0, 1.0), tolerance_mm=0.29)["nsd"] == 0


def test_a_far_false_island_shows_in_hd95_as_in_monai():
    reference, prediction = empty((40, 12, 12)), empty((40, 12, 12))
    reference[2:8, 3:9, 3:9] = prediction[2:8, 3:9, 3:9] = 1
    prediction[30:36, 3:9, 3:9] = 1
    expected = compute_hausdorff_distance(
        one_hot(prediction, 1), one_hot(reference, 1), percentile=95, spacing=(2, 1, 1)
    )
    row = single(reference, prediction, (2.0, 1.0, 1.0))
    assert row["hd95"] == pytest.approx(float(expected), abs=1e-4)
    assert row["hd95"] > 40


def test_statuses_and_raw_values_of_empty_masks():
    reference, prediction = empty(), empty()
    reference[0, 0, 0], reference[1, 1, 1], prediction[1, 1, 1], prediction[2, 2, 2] = 1, 2, 2, 3
    names = {1: "missed", 2: "found", 3: "invented", 4: "absent"}
    rows = {row["target"]: row for row in case_metrics(reference, prediction, (1, 1, 1), names)}
    assert list(rows) == list(names.values())
    assert [row["status"] for row in rows.values()] == [
        "pred_empty",
        "ok",
        "ref_empty",
        "both_empty",
    ]
    for name in ("missed", "invented"):
        row = rows[name]
        assert (row["dice"], row["nsd"]) == (0, 0)
        assert row["hd95"] == row["hd95_pooled"] == math.inf
    for column in ("dice", "hd95", "hd95_pooled", "nsd"):
        assert math.isnan(rows["absent"][column])
    assert rows["missed"]["prediction_ml"] == rows["invented"]["reference_ml"] == 0
    assert set(STATUSES) == {row["status"] for row in rows.values()}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_labels_may_be_sparse_and_of_any_integer_type(dtype):
    reference, prediction = blobs(3), blobs(4)
    plain = case_metrics(reference, prediction, (1, 1, 2), {2: "b", 3: "c", 1: "a"})
    table = np.array([0, 77, 120, 9])
    renamed = case_metrics(
        table[reference].astype(dtype),
        table[prediction].astype(np.int32),
        (1, 1, 2),
        {120: "b", 9: "c", 77: "a"},
    )
    assert renamed == plain


def test_a_label_outside_the_classes_belongs_to_none():
    reference, prediction = blobs(3).astype(np.int16), blobs(4).astype(np.int16)
    subset = case_metrics(reference, prediction, (1, 1, 2), {2: "b"})
    every = case_metrics(reference, prediction, (1, 1, 2), {1: "a", 2: "b", 3: "c"})
    assert subset == every[1:2]
    ignored = np.where(reference == 3, -1, reference)
    assert case_metrics(ignored, prediction, (1, 1, 2), {1: "a", 2: "b"}) == every[:2]


@pytest.mark.parametrize("classes", [{1: "a", 2: "b"}, {2: "b", 1: "a"}])
@pytest.mark.parametrize("stray", [3, 255, 257, 1000, -1, -2, -255])
def test_no_stray_label_turns_into_a_class(classes, stray):
    reference, prediction = blobs(3, classes=2).astype(np.int16), blobs(4, classes=2)
    with_stray = np.where(
        (reference == 0) & (speckle(0, 0.1, reference.shape) == 1), stray, reference
    )
    expected = case_metrics(reference, prediction, (1, 1, 2), classes)
    assert case_metrics(with_stray, prediction, (1, 1, 2), classes) == expected


def test_more_than_255_classes():
    reference = np.arange(1, 513, dtype=np.int32).reshape(8, 8, 8)
    rows = case_metrics(reference, reference, (1, 1, 1), {n: f"c{n}" for n in range(1, 513)})
    assert all(row["dice"] == 1 and row["hd95"] == 0 for row in rows)


def test_the_diagonal_bounds_every_finite_distance():
    reference, prediction = empty((4, 5, 6)), empty((4, 5, 6))
    reference[0, 0, 0] = prediction[-1, -1, -1] = 1
    row = single(reference, prediction, (1.0, 2.0, 3.0))
    assert row["diagonal_mm"] == pytest.approx(math.hypot(4, 10, 18))
    assert row["hd95"] < row["diagonal_mm"]
    assert single(reference, prediction, diagonal=500.0)["diagonal_mm"] == 500


def test_inputs_are_left_as_they_were():
    reference, prediction = blobs(1), blobs(2)
    before = reference.copy(), prediction.copy()
    case_metrics(reference, prediction, (1, 1, 1), {1: "a", 2: "b"})
    np.testing.assert_array_equal((reference, prediction), before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prediction": empty((6, 6, 5))}, "differ in shape"),
        ({"prediction": empty().astype(float)}, "prediction: dtype float64"),
        ({"reference": empty().astype(bool)}, "reference: dtype bool"),
        ({"reference": empty()[0]}, "reference: shape"),
        ({"reference": empty((0, 6, 6))}, "reference: shape"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, math.nan, 1)}, "spacing"),
        ({"classes": {}}, "classes"),
        ({"classes": {0: "background"}}, "classes"),
        ({"classes": {70000: "far"}}, "classes"),
        ({"classes": {1: "a", 2: "a"}}, "classes"),
        ({"diagonal": math.inf}, "diagonal"),
        ({"tolerance_mm": -1}, "tolerance_mm"),
    ],
)
def test_wrong_input_is_refused_in_one_line(change, says):
    arguments = {
        "reference": empty(),
        "prediction": empty(),
        "spacing": (1, 1, 1),
        "classes": {1: "a"},
    }
    with pytest.raises(ValueError, match=says) as refusal:
        case_metrics(**{**arguments, **change})
    assert "\n" not in str(refusal.value)


def test_every_column_has_a_definition_that_names_its_version():
    row = single(empty(), empty())
    assert {"dice", "hd95", "hd95_pooled", "nsd"} <= set(row) & set(DEFINITIONS)
    assert all("/1: " in text for text in DEFINITIONS.values())
    assert definitions(2.5)["nsd"].startswith("nsd_2.5mm/1")
    assert definitions(2.5)["hd95"] == DEFINITIONS["hd95"]


def test_nothing_warns_on_empty_masks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single(empty(), empty())
