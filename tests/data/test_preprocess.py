import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medssl_bench.data.preprocess import (
    preprocess_image,
    preprocess_label,
    restore_labels,
    scale_intensity,
)
from medssl_bench.data.volume import Volume
from medssl_bench.errors import CaseError, DataError
from medssl_bench.task import Intensity, Preprocessing

RNG = np.random.default_rng(0)
AFFINE = np.diag([0.8, 0.7, 3.0, 1.0])
CLIP = Preprocessing(spacing=(1.5, 1.5, 2.0), intensity=Intensity(low=0, high=1))


def sphere(shape, spacing, centre_mm, radius_mm):
    """Voxels whose centre, for a box that begins at 0 mm, lies in the sphere."""
    places = [
        (np.arange(n) + 0.5) * s - c for n, s, c in zip(shape, spacing, centre_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*places, indexing="ij", sparse=True)
    return x**2 + y**2 + z**2 < radius_mm**2


class TestIntensity:
    def test_clip(self):
        values = np.array([-1000, -175, 37.5, 250, 3000], np.float32).reshape(5, 1, 1)
        scaled = scale_intensity(values, Intensity()).ravel()
        np.testing.assert_allclose(scaled, [0, 0, 0.5, 1, 1], atol=1e-6)

    def test_percentile_is_of_the_native_volume(self):
        array = RNG.gamma(2.0, 100.0, (20, 21, 22)).astype(np.float32)
        rule = Intensity(rule="percentile", low=5, high=95)
        low, high = np.percentile(array.astype(np.float64), (5, 95))
        expected = np.clip((array - low) / (high - low), 0, 1)
        np.testing.assert_allclose(scale_intensity(array, rule), expected, atol=1e-5)

    @pytest.mark.parametrize("rule", [Intensity(rule="percentile", low=5, high=95)])
    def test_constant_image_is_refused(self, rule):
        with pytest.raises(DataError, match="no width"):
            scale_intensity(np.full((4, 4, 4), 7.0), rule)

    @pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
    def test_not_finite_is_refused(self, fault):
        array = np.zeros((4, 4, 4), np.float32)
        array[1, 2, 3] = fault
        with pytest.raises(DataError, match="1 voxels are not finite"):
            scale_intensity(array, Intensity())

    def test_the_source_is_left_alone(self):
        array = RNG.normal(size=(4, 4, 4)).astype(np.float32)
        before = array.copy()
        scale_intensity(array, Intensity())
        np.testing.assert_array_equal(array, before)


class TestResampling:
    def test_equals_scipy_at_the_same_places(self):
        array = RNG.random((21, 18, 11)).astype(np.float32)
        result = preprocess_image(Volume(array, AFFINE), CLIP)
        assert result.array.shape == (round(21 * 0.8 / 1.5), round(18 * 0.7 / 1.5), 16)
        index = np.stack(np.meshgrid(*map(np.arange, result.array.shape), indexing="ij"))
        index = index.reshape(3, -1)
        place = result.affine[:3, :3] @ index + result.affine[:3, 3:]
        there = np.linalg.inv(AFFINE[:3, :3]) @ (place - AFFINE[:3, 3:])
        expected = map_coordinates(array, there, order=1, mode="nearest")
        np.testing.assert_allclose(result.array.ravel(), expected, atol=1e-5)

    def test_grids_cover_the_same_box(self):
        result = preprocess_image(Volume(np.zeros((21, 18, 11)), AFFINE), CLIP)
        for corner in (0, 1):
            new = result.affine @ [*(np.array(result.array.shape) * corner - 0.5), 1]
            old = AFFINE @ [*(np.array((21, 18, 11)) * corner - 0.5), 1]
            np.testing.assert_allclose(new, old, atol=1e-9)

    def test_landmark_keeps_its_place(self):
        """A blurred spot's centre of mass, in mm, on a strongly anisotropic grid."""
        places = np.stack(np.meshgrid(*map(np.arange, (60, 64, 20)), indexing="ij"), axis=-1)
        spot_mm = np.array([22.0, 25.0, 31.0])
        distance = ((places * np.diag(AFFINE)[:3] - spot_mm) / 5.0) ** 2
        array = np.exp(-0.5 * distance.sum(-1)).astype(np.float32)
        result = preprocess_image(Volume(array, AFFINE), CLIP)
        index = np.stack(np.meshgrid(*map(np.arange, result.array.shape), indexing="ij"), axis=-1)
        mean = (index * result.array[..., None]).sum((0, 1, 2)) / result.array.sum()
        np.testing.assert_allclose((result.affine @ [*mean, 1])[:3], spot_mm, atol=0.05)

    def test_own_spacing_changes_nothing(self):
        array = RNG.random((5, 6, 7)).astype(np.float32)
        result = preprocess_image(Volume(array, AFFINE), CLIP.model_copy(update={"spacing": None}))
        np.testing.assert_allclose(result.array, array, atol=1e-7)
        np.testing.assert_array_equal(result.affine, AFFINE)

    def test_an_axis_never_vanishes(self):
        volume = Volume(np.zeros((1, 2, 1)), np.diag([0.1, 0.1, 0.1, 1]))
        assert preprocess_image(volume, CLIP).array.shape == (1, 1, 1)

    def test_labels_come_from_the_voxel_that_holds_the_centre(self):
        array = RNG.integers(0, 9, (21, 18, 11)).astype(np.uint8)
        result = preprocess_label(Volume(array, AFFINE), (11, 8, 16))
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(array)[None, None].float(), (11, 8, 16), mode="nearest-exact"
        )
        np.testing.assert_array_equal(result.array, expected[0, 0].numpy())


class TestRestore:
    def test_a_large_sphere_survives_there_and_back(self):
        shape, spacing = (100, 96, 40), (0.8, 0.7, 3.0)
        truth = sphere(shape, spacing, (40, 34, 60), 28)
        label = preprocess_label(Volume(truth.astype(np.uint8), AFFINE), (53, 45, 60)).array
        inside = torch.from_numpy(label).float()
        for background in (True, False):
            channels = [1 - inside, inside] if background else [inside]
            back = restore_labels(torch.stack(channels), shape, background=background)
            dice = 2 * (back * truth).sum() / (back.sum() + truth.sum())
            assert back.dtype == np.uint8 and dice > 0.98

    @pytest.mark.parametrize("native", [(23, 31, 9), (11, 15, 30), (12, 14, 16), (1, 1, 1)])
    @pytest.mark.parametrize("slab", [1, 8, 64])
    def test_equals_the_argmax_of_interpolated_probabilities(self, native, slab):
        logits = torch.from_numpy(RNG.normal(size=(5, 12, 14, 16))).float()
        probabilities = (3 * logits).softmax(0)
        whole = torch.nn.functional.interpolate(
            probabilities.double()[None], native, mode="trilinear", align_corners=False
        )[0]
        top = whole.topk(2, dim=0).values
        sure = (top[0] - top[1] > 1e-5).numpy()
        result = restore_labels(probabilities, native, slab=slab)
        np.testing.assert_array_equal(result[sure], whole.argmax(0).numpy()[sure])
        assert sure.mean() > 0.99

    def test_small_organs_are_found_wherever_they_are(self):
        """Classes confined to corners and single voxels, so that most of each is skipped."""
        logits = torch.zeros(6, 20, 18, 16)
        logits[0] = 4
        logits[1, :3, :3, :3] = 9
        logits[2, -2:, -4:, -3:] = 9
        logits[3, 9, 9, 9] = 9
        logits[4, 5:15, 2, 3:9] = 9
        logits += torch.from_numpy(RNG.normal(size=logits.shape)).float()
        probabilities = logits.softmax(0)
        for native in ((41, 33, 50), (13, 30, 9)):
            whole = torch.nn.functional.interpolate(
                probabilities.double()[None], native, mode="trilinear", align_corners=False
            )[0]
            top = whole.topk(2, dim=0).values
            sure = (top[0] - top[1] > 1e-5).numpy()
            result = restore_labels(probabilities, native)
            np.testing.assert_array_equal(result[sure], whole.argmax(0).numpy()[sure])
            assert set(np.unique(result)) >= {0, 1, 2, 4}

    def test_sigmoid_outputs_are_background_below_one_half(self):
        values = torch.tensor([[0.2, 0.6, 0.6, 0.4], [0.3, 0.7, 0.1, 0.5]])[:, :, None, None]
        result = restore_labels(values, (4, 1, 1), background=False)
        assert result.ravel().tolist() == [0, 2, 1, 0]

    def test_half_precision_probabilities(self):
        values = torch.rand(3, 8, 8, 8)
        exact = restore_labels(values.bfloat16().float(), (9, 9, 9))
        np.testing.assert_array_equal(restore_labels(values.bfloat16(), (9, 9, 9)), exact)

    def test_a_diverged_network_is_reported(self):
        values = torch.rand(2, 4, 4, 4)
        values[1, 2, 2, 2] = float("nan")
        with pytest.raises(CaseError, match="not finite"):
            restore_labels(values, (4, 4, 4))


def test_a_fixed_shape_covers_the_same_box(tmp_path) -> None:
    """Every voxel of the new grid is the mean of the old ones it covers, where it halves them."""
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 1, (8, 12, 6)).astype(np.float32)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    rule = Preprocessing(
        spacing=None, shape=(4, 6, 6), intensity=Intensity(rule="clip", low=0, high=1)
    )
    found = preprocess_image(Volume(array, affine), rule)
    expected = array.reshape(4, 2, 6, 2, 6).mean((1, 3))
    np.testing.assert_allclose(found.array, expected, atol=1e-6)
    assert found.header.spacing == (4.0, 6.0, 4.0)
    np.testing.assert_allclose(found.affine[:3, 3], [1.0, 1.5, 0.0])
