"""Schedules, parameter groups, histories and sampling, against closed forms."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from medssl_bench.config import Augmentation
from medssl_bench.data.augmentation import augment
from medssl_bench.data.sampling import LabelledCrops, case_of, keyed_rng
from medssl_bench.errors import CaseError
from medssl_bench.history import History
from medssl_bench.training import LearningRate, build_optimizer, resolve_precision


def test_learning_rate_warms_up_linearly_then_follows_a_cosine() -> None:
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1.0)
    rate = LearningRate(optimizer, steps=100, warmup_fraction=0.1, min_lr=0.1)

    def at(step: int) -> float:
        rate.set(step)
        return float(optimizer.param_groups[0]["lr"])

    assert at(0) == 0
    assert at(5) == pytest.approx(0.5)
    assert at(10) == pytest.approx(1.0)
    for step in (30, 55, 99):
        cosine = 0.1 + 0.9 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2
        assert at(step) == pytest.approx(cosine)
    assert at(55) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 45 / 90)) / 2)


def test_no_decay_on_vectors_mask_tokens_and_position_tables() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(3, 4)
            self.mask_token = torch.nn.Parameter(torch.zeros(1, 4))
            self.relative_position_bias_table = torch.nn.Parameter(torch.zeros(7, 2))

    net = Net()
    optimizer = build_optimizer(net, 1e-3, 0.05, (0.9, 0.999))
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(net.linear.weight)}


def test_a_slower_part_keeps_its_share_of_the_rate() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    optimizer = build_optimizer(net, 1e-2, 0.05, (0.9, 0.999), slower=(net[0], 0.1))
    rate = LearningRate(optimizer, 10, warmup_fraction=0.2, min_lr=0.0)
    plain = build_optimizer(net, 1e-2, 0.05, (0.9, 0.999))
    alike = LearningRate(plain, 10, warmup_fraction=0.2, min_lr=0.0)
    part = {id(parameter) for parameter in net[0].parameters()}
    counts = [len(group["params"]) for group in optimizer.param_groups]
    assert counts == [1, 1, 1, 1]
    for step in range(10):
        rate.set(step)
        alike.set(step)
        expected = plain.param_groups[0]["lr"]
        for group in optimizer.param_groups:
            within = id(group["params"][0]) in part
            assert group["lr"] == pytest.approx(expected * (0.1 if within else 1))


def test_history_keeps_means_and_refuses_what_is_not_finite() -> None:
    history = History(steps=1000)
    assert history.every == 2
    for step in range(4):
        history.add(step, {"loss": torch.tensor(float(step))})
    assert history.points == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 2.5}]
    history.add(4, {"loss": torch.tensor(float("nan"))})
    with pytest.raises(CaseError, match="loss became nan at or just before step 6"):
        history.add(5, {"loss": torch.tensor(1.0)})


def test_history_goes_on_in_the_middle_of_a_point() -> None:
    """Processes hold 0, 2, 4, ... and 1, 3, 5, ...; their joint mean is half a step more."""
    whole, first = (History(steps=2000, joint=lambda v: v + 0.5) for _ in range(2))
    values = torch.rand(7).double() * 1e3
    for step in range(4):
        whole.add(step, {"loss": values[step]})
    for step in range(2):
        first.add(step, {"loss": values[step]})
    assert not first.at_point
    second = History(2000, copy.deepcopy(first.state()), joint=lambda v: v + 0.5)
    assert not second.at_point
    for step in range(2, 4):
        second.add(step, {"loss": values[step]})
    assert second.at_point and second.points == whole.points
    assert whole.points[0]["loss"] == pytest.approx(float(values[:4].mean()) + 0.5, rel=1e-6)


def test_a_validation_score_stands_at_its_own_step() -> None:
    history = History(steps=2000)
    scored = {}
    for step in range(12):
        history.add(step, {"loss": torch.tensor(1.0)})
        if (step + 1) % 3 == 0:
            scored[step + 1] = (step + 1) / 100
            history.mark(step + 1, validation_dice=(step + 1) / 100)
    found = {p["step"]: p["validation_dice"] for p in history.points if "validation_dice" in p}
    assert found == scored
    assert [p["step"] for p in history.points] == [3, 4, 6, 8, 9, 12]
    assert [p["step"] for p in history.points if "loss" in p] == [4, 8, 12]
    assert history.latest == "loss 1.0000"


def test_every_epoch_sees_every_case_once_and_in_its_own_order() -> None:
    epochs = [[case_of(3, slot, 7) for slot in range(e * 7, e * 7 + 7)] for e in range(5)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [case_of(3, slot, 7) for slot in range(7)] == epochs[0]


class Volume:
    """Labelled case in memory; every voxel's image value tells its place."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.id, self.shape, self.spacing = "volume", shape, (1.0, 1.0, 1.0)
        self._label = np.zeros(shape, np.uint8)
        self._label[2:5, 3:6, 1:3] = 1
        self.foreground = {1: np.argwhere(self._label == 1)}

    def image(self) -> np.ndarray:
        return (np.arange(np.prod(self.shape)).reshape((1, *self.shape)) / 2048).astype(np.float16)

    def label(self) -> np.ndarray:
        return self._label


def test_crops_repeat_by_step_and_image_and_label_stay_together() -> None:
    crops = LabelledCrops([Volume((12, 11, 10))], (8, 8, 8), 0, 0.5, torch.device("cpu"))
    images, labels, _ = crops.batch(4, 2, 2)
    again, *_ = crops.batch(4, 2, 2)
    assert images.shape == (4, 1, 8, 8, 8) and labels.shape == (4, 1, 8, 8, 8)
    assert torch.equal(images, again)
    marked = set((np.flatnonzero(Volume((12, 11, 10)).label()) / 2048).astype(np.float16).tolist())
    for image, label in zip(images, labels, strict=True):
        inside = image[label == 1].numpy().astype(np.float16).tolist()
        assert set(inside) <= marked


def test_a_volume_smaller_than_the_crop_is_padded_with_zeros() -> None:
    crops = LabelledCrops([Volume((6, 7, 4))], (8, 8, 8), 0, 1.0, torch.device("cpu"))
    images, labels, _ = crops.batch(0, 1, 1)
    assert images.shape == (1, 1, 8, 8, 8)
    assert int(labels.sum()) == 3 * 3 * 2


def test_augmentation_turns_image_and_label_alike_and_only_in_the_axial_plane() -> None:
    label = torch.zeros(1, 1, 6, 6, 4, dtype=torch.long)
    label[0, 0, 1, 2, 3] = 1
    image = label.float()
    settings = Augmentation(rotate90=1.0, intensity=0.0)
    for step in range(8):
        turned, mask = augment(image, label, settings, keyed_rng(0, "augment", step))
        assert torch.equal(turned[0, 0] > 0.5, mask[0, 0] == 1)
        assert mask[..., 3].sum() == 1 and mask[..., :3].sum() == 0
        assert not torch.equal(mask, label)


def test_precision_is_never_changed_when_it_is_asked_for() -> None:
    assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert resolve_precision("32-true", "cpu") == "32-true"
    assert resolve_precision("auto", "cpu") in ("bf16-mixed", "32-true")


def test_mirroring_takes_image_and_label_along_and_each_axis_for_itself() -> None:
    label = torch.zeros(1, 1, 6, 6, 4, dtype=torch.long)
    label[0, 0, 1, 2, 3] = 1
    settings = Augmentation(rotate90=0.0, intensity=0.0, flip=0.5)
    places = []
    for step in range(64):
        turned, mask = augment(label.float(), label, settings, keyed_rng(0, "augment", step))
        assert torch.equal(turned[0, 0] > 0.5, mask[0, 0] == 1)
        places.append(tuple(int(i) for i in mask[0, 0].nonzero()[0]))
    mirrored = {(x == 4, y == 3, z == 0) for x, y, z in places}
    assert all(x in (1, 4) and y in (2, 3) and z in (3, 0) for x, y, z in places)
    assert len(mirrored) == 8
    together = Augmentation(rotate90=0.0, intensity=0.0, flip=0.5, flip_jointly=True)
    found = set()
    for step in range(32):
        _, mask = augment(label.float(), label, together, keyed_rng(0, "augment", step))
        found.add(tuple(int(i) for i in mask[0, 0].nonzero()[0]))
    assert found == {(1, 2, 3), (4, 3, 0)}


def test_without_mirroring_nothing_else_is_drawn_than_before() -> None:
    image, label = torch.rand(2, 1, 6, 6, 4), torch.zeros(2, 1, 6, 6, 4, dtype=torch.long)
    first, second = keyed_rng(1), keyed_rng(1)
    augment(image, label, Augmentation(), first)
    second.random(2), second.integers(1, 4, 2)
    for _ in range(2):
        second.random(2), second.uniform(-0.1, 0.1, 2)
    assert first.random() == second.random()


def test_what_takes_seconds_to_load_is_not_loaded_before_it_is_needed() -> None:
    late = ("monai", "mlflow", "scipy.stats", "scipy.ndimage", "scipy.spatial")
    code = (
        "import sys, medssl_bench.stages.finetune, medssl_bench.runner, medssl_bench.recording;"
        f"print([name for name in {late} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
