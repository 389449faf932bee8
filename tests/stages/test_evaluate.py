"""Evaluation in original space, with networks whose answer is known."""

import re
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medssl_bench.config import EvaluateSettings
from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.prepared import Prepared
from medssl_bench.data.reading import FileSource
from medssl_bench.stages.evaluate import evaluate, target_rows, working_dice
from medssl_bench.stages.slices import overlay, tiles
from medssl_bench.task import Case, Intensity, Preprocessing, Task
from medssl_bench.training import Compute

TASK = Task(
    name="ball",
    classes={1: "ball", 2: "box"},
    preprocessing=Preprocessing(spacing=(2, 2, 2), intensity=Intensity(low=0, high=200)),
    crop=(16, 16, 16),
)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """A ball of intensity 100 and a box of 200, stored left-posterior-inferior at 1x1x3 mm."""
    x, y, z = np.mgrid[:40, :44, :20]
    label = np.zeros(x.shape, np.uint8)
    label[(x - 18) ** 2 + (y - 20) ** 2 + (3 * (z - 9)) ** 2 < 14**2] = 1
    label[2:10, 30:42, 2:8] = 2
    image = label.astype(np.int16) * 100
    affine = np.diag([-1.0, -1.0, -3.0, 1.0])
    for name, array in (("image", image), ("label", label)):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    case = Case(
        "case",
        {"image": FileSource(tmp_path / "image.nii.gz")},
        FileSource(tmp_path / "label.nii.gz"),
    )
    return VolumeCache(tmp_path / "cache").prepare(
        case, TASK.preprocessing, channels=("image",), classes=TASK.classes
    )


class Oracle(torch.nn.Module):
    """Reads the class from the intensity: 0 background, 0.5 the ball, 1 the box."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1, 1)
        return -200 * (image - levels).abs()


def run(model: torch.nn.Module, case: Prepared):
    fabric = Compute("cpu", "32-true", 1).fabric()
    return evaluate(
        model, [case], TASK, (16, 16, 16), EvaluateSettings(), fabric, "test", lambda _: None, 1
    )


def test_a_network_that_knows_the_answer_scores_high_in_original_space(prepared: Prepared) -> None:
    rows = run(Oracle(), prepared).cases.set_index("target")
    assert prepared.native_shape == (40, 44, 20)
    # Only resampling 1x1x3 -> 2x2x2 -> 1x1x3 mm stands between the prediction and the truth.
    assert rows.loc["ball", "dice"] > 0.93
    assert rows.loc["ball", "hd95"] < 3.1
    assert rows.loc["ball", "reference_ml"] == pytest.approx(
        float((prepared.native_label() == 1).sum()) * 3 / 1000
    )
    assert rows.loc["ball", "diagonal_mm"] == pytest.approx(np.hypot(np.hypot(40, 44), 60))
    assert rows.loc["ball", "dice_working"] > 0.95


def test_a_picture_stays_in_its_folder_whatever_the_case_is_called(prepared: Prepared) -> None:
    (name,) = run(Oracle(), replace(prepared, id="../../s1/a b")).slices
    assert re.fullmatch(r"[\w-][\w.-]*~[0-9a-f]{12}\.png", name)
    assert [*run(Oracle(), prepared).slices] == ["case.png"]


def test_a_network_that_sees_nothing_misses_every_target(prepared: Prepared) -> None:
    class Blind(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            shape = (image.shape[0], 1, *image.shape[2:])
            return torch.cat([torch.ones(shape), torch.zeros(shape), torch.zeros(shape)], 1)

    rows = run(Blind(), prepared).cases
    assert list(rows["status"]) == ["pred_empty", "pred_empty"]
    assert (rows["dice"] == 0).all() and np.isinf(rows["hd95"]).all()


def test_working_dice_against_sets() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 6, 7, 8))
    a[a == 3] = 0
    b[b == 3] = 0
    classes = {1: "one", 2: "two", 3: "none"}
    dice = working_dice(a, b.astype(np.uint8), Task(name="sets", classes=classes))
    for k in (1, 2):
        expected = 2 * ((a == k) & (b == k)).sum() / ((a == k).sum() + (b == k).sum())
        assert dice[k - 1] == pytest.approx(expected)
    assert np.isnan(dice[2])
    regions = {"both": (1, 2), "two": (2,), "none": (3,)}
    task = Task(name="sets", classes=classes, regions=regions)
    both, two, none = working_dice(a, b.astype(np.uint8), task)
    assert both == pytest.approx(2 * ((a > 0) & (b > 0)).sum() / ((a > 0).sum() + (b > 0).sum()))
    assert two == pytest.approx(dice[1]) and np.isnan(none)


def test_regions_that_overlap_are_each_measured_whole() -> None:
    """A kidney with a tumour: what is wrong within a region does not count against the region."""
    reference = np.zeros((12, 10, 8), np.uint8)
    reference[2:8, 2:8, 2:6] = 1
    reference[4:6, 4:6, 3:5] = 2
    prediction = np.where(reference > 0, 1, 0).astype(np.uint8)  # the tumour taken for kidney
    prediction[4, 4, 3] = 2
    task = Task(
        name="kidney",
        classes={1: "kidney", 2: "tumour", 3: "cyst"},
        regions={"kidney_and_mass": (1, 2, 3), "mass": (2, 3), "tumour": (2,)},
    )
    settings = EvaluateSettings()
    rows = target_rows(reference, prediction, (1.0, 2.0, 3.0), task, settings)
    assert [row["target"] for row in rows] == ["kidney_and_mass", "mass", "tumour"]
    assert rows[0]["dice"] == 1 and rows[0]["hd95"] == 0
    assert rows[1]["dice"] == rows[2]["dice"] == pytest.approx(2 / (8 + 1))
    assert rows[0]["reference_ml"] == pytest.approx(6 * 6 * 4 * 6 / 1000)
    assert rows[2]["reference_ml"] == pytest.approx(8 * 6 / 1000)
    # Voxels (1, 2, 3) mm apart: from (4, 4, 3) the farthest of the eight is (5, 5, 4).
    assert rows[2]["hd95"] == pytest.approx(
        np.percentile([np.hypot(np.hypot(x, 2 * y), 3 * z) for x in (0, 1) for y in (0, 1)
                       for z in (0, 1)], 95)
    )  # fmt: skip
    assert rows[2]["diagonal_mm"] == pytest.approx(np.hypot(np.hypot(12, 20), 24))


def test_the_picture_shows_the_patients_right_on_the_left() -> None:
    from io import BytesIO

    from PIL import Image

    image = np.zeros((20, 10, 4), np.float32)
    image[15:, 5:, :] = 1  # right (R+) and anterior (A+) in RAS
    empty = np.zeros(image.shape, np.uint8)
    empty[0, 0, 2] = 1
    png = Image.open(BytesIO(overlay({"CT": image}, empty, empty, (1, 1, 1)))).convert("L")
    panel = np.asarray(png)[:, :200]
    h = panel.shape[0]
    assert panel[: h // 4, :40].mean() > 200  # top left: anterior right
    assert panel[h // 2 + 5 :, 60:].mean() < 30


def test_a_picture_has_a_tile_of_every_channel_and_says_which() -> None:
    from io import BytesIO

    from PIL import Image

    images = {"T1": np.zeros((20, 20, 4), np.float32), "FLAIR": np.full((20, 20, 4), 0.25)}
    reference = np.zeros((20, 20, 4), np.uint8)
    reference[5:10, 5:10, 2] = 1
    empty = np.zeros_like(reference)

    def drawn(channels: dict[str, np.ndarray]) -> list[np.ndarray]:
        picture = Image.open(BytesIO(overlay(channels, reference, empty, (1, 1, 1))))
        return [np.asarray(tile.convert("RGB")) for tile in tiles(picture)]

    first, second, marked, missed = drawn(images)
    assert first.shape == second.shape == (200, 200, 3)
    assert first[:16].max() > 200 and second[:16].max() > 200  # their names
    assert not first[20:].any() and (second[20:] // 8 == 63 // 8).all()
    assert marked[20:].any() and not missed.any()  # the reference over the first channel
    alone, _, _ = drawn({"T1": images["T1"]})
    assert not alone.any()  # there is nothing to tell apart
