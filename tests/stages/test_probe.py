"""Crops with their organs, frozen features, and a probe during training that changes nothing."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.prepared import Prepared
from medssl_bench.data.reading import FileSource
from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Progress
from medssl_bench.methods.smit import SMIT
from medssl_bench.networks import build_encoder
from medssl_bench.networks.encoder import Encoder, Level
from medssl_bench.stages.probe import (
    OnlineProbe,
    PresenceCrops,
    ProbeSettings,
    find_level,
    frozen,
    pooled_features,
)
from medssl_bench.task import Case, Intensity, Preprocessing
from medssl_bench.training import Compute

CLASSES = {1: "ball", 2: "box"}
SIZE = (16, 16, 16)
FABRIC = Compute("cpu", "32-true", 1).fabric()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Prepared]:
    """Six patients; the ball has intensity 0.5, the box 1.0, the rest 0. The last has no box."""
    folder = tmp_path_factory.mktemp("cases")
    found = []
    for number in range(6):
        rng = np.random.default_rng(number)
        grid = np.mgrid[:40, :36, :32]
        centre = rng.uniform(10, 26, 3)[:, None, None, None]
        label = (((grid - centre) ** 2).sum(0) < 6**2).astype(np.uint8)
        if number < 5:
            x, y, z = rng.integers(0, 20, 3)
            label[x : x + 9, y : y + 9, z : z + 9] = 2
        sources = {}
        for name, array in (("image", label.astype(np.int16) * 100), ("label", label)):
            path = folder / f"{number}_{name}.nii"
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
            sources[name] = FileSource(path)
        case = Case(f"case_{number}", {"image": sources["image"]}, sources["label"])
        rule = Preprocessing(spacing=None, intensity=Intensity(low=0, high=200))
        found.append(
            VolumeCache(folder / "cache").prepare(case, rule, channels=("image",), classes=CLASSES)
        )
    return found


def images_of(crops: PresenceCrops) -> Tensor:
    return torch.cat(list(crops.batches(5))).float()


class Histogram(Encoder):
    """Its features are the shares of voxels above 0.25 and above 0.75; its weight does nothing."""

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        self.levels = (Level("fine", 2, 1), Level("coarse", 2, 2))
        self.in_channels, self.blind = 1, blind
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls: list[bool] = []

    def forward(
        self, image: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None
    ) -> dict[str, Tensor]:
        self.calls.append(self.training)
        fine = torch.cat([(image > 0.25).float(), (image > 0.75).float()], dim=1) + self.weight
        fine = torch.zeros_like(fine) if self.blind else fine
        torch.rand(3)
        return {"fine": fine, "coarse": nn.functional.avg_pool3d(fine, 2)}


def test_an_organ_is_present_from_its_share_of_the_voxels_on(cases: list[Prepared]) -> None:
    for share in (0.0, 0.02):
        crops = PresenceCrops(cases, len(CLASSES), SIZE, ProbeSettings(crops=7, share=share))
        assert len(crops) == 6 * 7 and crops.present.shape == (42, 2)
        voxels = images_of(crops).flatten(1)
        for target, intensity in enumerate((0.5, 1.0)):
            count = (voxels == intensity).sum(1).numpy()
            assert np.array_equal(crops.present[:, target], count >= max(1, share * 16**3))
        assert 0 < crops.present[:, 0].sum() < 42
        assert not crops.present[crops.cases == "case_5", 1].any()


def test_crops_are_keyed_by_seed_and_case(cases: list[Prepared]) -> None:
    all_of_them = PresenceCrops(cases, 2, SIZE, ProbeSettings(crops=4))
    two = PresenceCrops([cases[4], cases[1]], 2, SIZE, ProbeSettings(crops=6))
    for case in ("case_4", "case_1"):
        first = images_of(all_of_them)[all_of_them.cases == case]
        assert torch.equal(images_of(two)[two.cases == case][:4], first)
    other = PresenceCrops(cases, 2, SIZE, ProbeSettings(crops=4, seed=1))
    assert not torch.equal(images_of(other), images_of(all_of_them))


def test_a_crop_larger_than_the_volume_is_padded_with_background(cases: list[Prepared]) -> None:
    crops = PresenceCrops(cases[:1], 2, (48, 48, 48), ProbeSettings(crops=1, share=0.0))
    assert images_of(crops).shape == (1, 1, 48, 48, 48)
    assert crops.present.all()


def test_features_are_the_mean_of_a_level_in_eval_mode(cases: list[Prepared]) -> None:
    crops = PresenceCrops(cases, 2, SIZE, ProbeSettings(crops=3))
    torch.manual_seed(0)
    encoder = build_encoder("swin_tiny", drop_path=0.5).train()
    level = find_level(encoder, "stage2")
    found = pooled_features(encoder, crops.batches(4), level, FABRIC)
    assert encoder.training
    with torch.no_grad():
        expected = encoder.eval()(images_of(crops))["stage2"].mean((2, 3, 4))
    assert found.shape == (18, level.channels)
    assert torch.allclose(torch.from_numpy(found).float(), expected, atol=1e-5)
    assert find_level(encoder, None) is encoder.levels[-1]
    with pytest.raises(BenchError, match=r"'stagge2'. Did you mean 'stage2'\? Known: stage1, "):
        find_level(encoder, "stagge2")


def test_a_frozen_network_is_handed_back_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)).train()
    network[1].eval()
    before = torch.get_rng_state()
    statistics = network[2].running_mean.clone()
    with frozen(network):
        assert not any(module.training for module in network.modules())
        assert not network(torch.rand(4, 2)).requires_grad
    assert [module.training for module in network.modules()] == [True, True, False, True]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(network[2].running_mean, statistics)
    assert network(torch.rand(4, 2)).requires_grad
    with pytest.raises(ValueError, match="on the way"), frozen(network):
        raise ValueError("on the way")
    assert network.training and not network[1].training


def test_the_online_probe_tells_features_that_know_from_features_that_do_not(
    cases: list[Prepared],
) -> None:
    probe = OnlineProbe(cases, len(CLASSES), SIZE, 0, FABRIC)
    knows, blind = Histogram().train(), Histogram(blind=True).train()
    score = probe.score(knows)
    assert list(score) == ["probe_knn_auc"] and score["probe_knn_auc"] > 0.9
    assert probe.score(blind)["probe_knn_auc"] == 0.5
    assert probe.score(knows) == score
    assert not any(knows.calls) and knows.training


def test_no_patient_is_on_both_sides_of_an_online_probe(cases: list[Prepared]) -> None:
    probe = OnlineProbe(cases, len(CLASSES), SIZE, 0, FABRIC)
    train, test = set(probe.train.patients), set(probe.test.patients)
    assert len(train) == len(test) == 3 and not train & test


def test_a_probe_does_not_change_what_is_trained(cases: list[Prepared]) -> None:
    """SMIT with stochastic depth, which draws from torch's global generator at every step."""
    config = SMIT.Config(cell=8, hidden=16, bottleneck=8, out=32)
    probe = OnlineProbe(cases, len(CLASSES), SIZE, 0, FABRIC)

    def trained(probe: OnlineProbe | None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        method = SMIT(build_encoder("swin_tiny", drop_path=0.5), config, SIZE).train()
        optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
        for step in range(3):
            if probe is not None:
                assert 0 <= probe.score(method.encoder)["probe_knn_auc"] <= 1
            views = tuple(torch.rand(2, 1, *SIZE) for _ in range(2))
            scans = tuple(torch.Generator().manual_seed(2 * step + i) for i in range(2))
            progress = Progress(step, 3)
            method(Batch(views, progress, scans)).total.backward()
            optimizer.step()
            optimizer.zero_grad()
            method.after_step(progress)
        return method.state_dict()

    without, with_probe = trained(None), trained(probe)
    assert all(torch.equal(with_probe[name], value) for name, value in without.items())


def test_an_online_probe_refuses_what_it_cannot_tell_apart(cases: list[Prepared]) -> None:
    with pytest.raises(BenchError, match="two patients or more"):
        OnlineProbe(cases[:1], len(CLASSES), SIZE, 0, FABRIC)
    with pytest.raises(BenchError, match="no target is in some crops only"):
        OnlineProbe(cases[:4], len(CLASSES), (48, 48, 48), 0, FABRIC)
