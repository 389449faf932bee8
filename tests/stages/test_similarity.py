"""The similarity stage on real prepared cases and small encoders."""

import nibabel
import numpy as np
import pytest
import torch

from medssl_bench.analysis.similarity import cka
from medssl_bench.config import SimilaritySettings, load_settings
from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.prepared import Prepared
from medssl_bench.data.reading import FileSource
from medssl_bench.networks import build_encoder
from medssl_bench.networks.encoder import Encoder, Level
from medssl_bench.stages.similarity import (
    Similarity,
    average,
    measure_similarity,
    sample_crops,
)
from medssl_bench.task import Case, Intensity, Preprocessing

SETTINGS = SimilaritySettings(groups=2, group=5, cells=2)


@pytest.fixture(scope="module")
def tests(tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    """Three cases of 40 x 36 x 36 voxels of 2 x 2 x 3 mm, each with a labelled block."""
    folder = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(0)
    cases = []
    for name in "abc":
        label = np.zeros((40, 36, 36), np.uint8)
        label[4:9, 5:9, 20:30] = 1
        image = rng.normal(100, 30, label.shape).astype(np.int16)
        for kind, array in (("image", image), ("label", label)):
            file = nibabel.Nifti1Image(array, np.diag([2.0, 2, 3, 1]))
            nibabel.save(file, folder / f"{name}_{kind}.nii.gz")
        source = {"image": FileSource(folder / f"{name}_image.nii.gz")}
        case = Case(name, source, FileSource(folder / f"{name}_label.nii.gz"))
        rule = Preprocessing(spacing=(2, 2, 3), intensity=Intensity(low=0, high=200))
        cases.append(
            VolumeCache(folder / "cache").prepare(
                case, rule, channels=("image",), classes={1: "block"}
            )
        )
    return cases


class Convolutions(Encoder):
    """A backbone without transformer blocks: two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels = 1
        self.levels = (Level("fine", 3, 2), Level("coarse", 5, 4))
        self.fine = torch.nn.Conv3d(1, 3, 2, 2)
        self.coarse = torch.nn.Conv3d(3, 5, 2, 2)

    def forward(self, image, mask=None, mask_token=None):
        fine = self.fine(image)
        return {"fine": fine, "coarse": self.coarse(fine)}


def encoder(seed: int) -> Encoder:
    torch.manual_seed(seed)
    return build_encoder("swin_tiny", drop_path=0.5)


def measure(before: Encoder, after: Encoder, tests: list[Prepared], **options) -> Similarity:
    settings = SETTINGS.model_copy(update=options)
    device = torch.device("cpu")
    return measure_similarity(
        before, after, tests, (32, 32, 32), settings, device, "test", lambda event: None
    )


def test_an_encoder_is_like_itself_and_both_looks_are_the_same(tests: list[Prepared]) -> None:
    found = measure(encoder(0), encoder(0), tests)
    same = found.cka[found.cka["layer_a"] == found.cka["layer_b"]]
    assert len(found.cka) == 25 and len(same) == 5
    np.testing.assert_allclose(same["cka"], 1, rtol=1e-6)
    assert (found.cka["n"] == 10).all() and (found.cka["group"] == 5).all()
    before, after = (
        found.attention[found.attention["encoder"] == name].drop(columns="encoder")
        for name in ("before", "after")
    )
    assert list(before["layer"]) == [
        "stage1.block1", "stage2.block1", "stage2.block2",
        *["stage3.block1"] * 2, *["stage3.block2"] * 2,
    ]  # fmt: skip
    assert before.reset_index(drop=True).equals(after.reset_index(drop=True))
    # Tokens of stage 3 lie 8 voxels apart: 16, 16 and 24 mm; uniform attention over 4^3 of them.
    axis = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    far = np.sqrt(sum(
        (step * axis.reshape([4 if i in (a, a + 3) else 1 for i in range(6)])) ** 2.0
        for a, step in enumerate((16, 16, 24))
    ))  # fmt: skip
    uniform = before[before["layer"] == "stage3.block1"]["uniform_distance_mm"]
    np.testing.assert_allclose(uniform, far.mean(), rtol=1e-5)
    assert found.how.crops == 10 and found.how.group == 5 and found.how.cells == 2


def test_cka_is_that_of_averaged_features_of_all_crops(tests: list[Prepared]) -> None:
    """With one group CKA is the full-batch value, here computed from whole feature maps."""
    first, second = encoder(0), encoder(1)
    found = measure(first, second, tests, groups=1, group=6)
    maps = []
    for one in (first.eval(), second.eval()):
        rows = []
        for crop in sample_crops(tests, (32, 32, 32), 6, 0):
            image = torch.from_numpy(crop.image)[None].float()
            tokens = one.patch_embed(image)
            with torch.no_grad():
                blocks = one.stages()[0].blocks[0](tokens).numpy()  # (1, 16, 16, 16, 16)
            rows.append(blocks.reshape(2, 8, 2, 8, 2, 8, 16).mean((1, 3, 5)).ravel())
        maps.append(np.stack(rows).astype(np.float64))
    value = found.cka.set_index(["layer_a", "layer_b"])["cka"]["stage1.block1", "stage1.block1"]
    assert value == pytest.approx(cka(*maps), rel=1e-5)


def test_nothing_depends_on_the_order_of_cases_or_on_what_ran_before(
    tests: list[Prepared],
) -> None:
    first = measure(encoder(0), encoder(1), tests)
    torch.rand(3), np.random.rand(3)
    again = measure(encoder(0).train(), encoder(1).train(), tests[::-1])
    assert first.cka.equals(again.cka) and first.attention.equals(again.attention)


def test_crops_come_from_every_case_in_turn_and_hold_the_target(tests: list[Prepared]) -> None:
    groups = [list(sample_crops(tests, (8, 8, 8), 5, number)) for number in (0, 1)]
    images = [crop.image for group in groups for crop in group]
    assert len({image.tobytes() for image in images}) == 10
    whole = [crop.image for crop in sample_crops(tests, (8, 8, 8), 10, 0)]
    assert all(np.array_equal(a, b) for a, b in zip(images, whole, strict=True))
    volume = [np.asarray(case.image()) for case in tests]
    block = [image[:, 4:9, 5:9, 20:30] for image in volume]
    for number, image in enumerate(images):
        assert np.isin(image, block[number % 3]).any()


def test_averages_never_have_more_cells_than_the_features() -> None:
    features = torch.arange(2 * 4 * 2 * 6, dtype=torch.float32).reshape(1, 2, 4, 2, 6)
    small = average(features, 2)
    assert small.shape == (1, 2, 2, 2, 2)
    assert small[0, 1, 0, 1, 1] == features[0, 1, :2, 1, 3:].mean()
    assert torch.equal(average(features, 8), features)


def test_other_backbones_are_compared_by_level_and_have_no_attention(
    tests: list[Prepared],
) -> None:
    one = Convolutions()
    found = measure(one, one, tests, groups=1, group=4)
    same = found.cka[found.cka["layer_a"] == found.cka["layer_b"]]
    assert list(same["layer_a"]) == ["fine", "coarse"]
    assert found.attention.empty and set(found.tables) == {"similarity"}
    assert found.how.attention_crops == 0


def test_it_is_switched_by_yes_or_no() -> None:
    assert load_settings("demo", {}, ["similarity=false"]).similarity.groups == 0
    assert load_settings("demo", {}, ["similarity=true"]).similarity == SimilaritySettings()
    assert load_settings("demo", {}, ["similarity.group=8"]).similarity.group == 8
