"""Which crops a pretraining step sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from medssl_bench.data.sampling import ClassifiedCrops, GroupedCrops, UnlabelledCrops


class Volume(SimpleNamespace):
    """A volume whose voxels are their own places."""

    shape = (40, 50, 12)
    id = "scan"
    channels = ("CT",)

    def image_crop(self, start: Any, size: Any, channel: int) -> np.ndarray:
        return np.array(start, dtype=np.float32)


def starts(views: int, shift: float | None) -> np.ndarray:
    crops = UnlabelledCrops([Volume()], (16, 16, 16), views, seed=3, shift=shift)  # type: ignore[list-item]
    return np.stack([np.stack(crops[slot]["views"]) for slot in range(200)])


def test_views_lie_as_near_as_asked() -> None:
    anywhere, near = starts(2, None), starts(2, 0.25)
    # The first view is the same whatever the others do, and however many there are.
    assert (anywhere[:, 0] == near[:, 0]).all()
    assert (anywhere[:, 0] == starts(1, None)[:, 0]).all()
    distance = np.abs(near[:, 1] - near[:, 0]).max(axis=0)
    assert distance.tolist() == [4, 4, 0]
    assert np.abs(anywhere[:, 1] - anywhere[:, 0]).max() > 16
    assert (near[:, 1] >= [0, 0, -2]).all() and (near[:, 1] <= [24, 34, -2]).all()


class Exam(SimpleNamespace):
    """A volume of several modalities whose voxels are their own places, plus 1000 for each."""

    shape = (20, 30, 8)

    def image_crop(self, start: Any, size: Any) -> np.ndarray:
        places = np.indices(size).sum(0) + sum(start)
        return np.stack([places + 1000 * i for i in range(len(self.channels))]).astype(np.float16)


def test_a_sample_of_a_group_has_every_modality_of_its_case_at_one_place() -> None:
    """Whichever it has: batches of cases of different modalities are not stacked."""
    exams = [Exam(id="a", channels=("T1", "T2", "ADC")), Exam(id="b", channels=("PD",))]
    crops = GroupedCrops(exams, (8, 8, 8), 1, seed=4)  # type: ignore[list-item]
    (batch,) = crops.loader([range(4, 8)], workers=0)
    assert sorted(batch["case"]) == ["a", "a", "b", "b"]
    assert batch["slot"] == [4, 5, 6, 7] and batch["shape"] == [(20, 30, 8)] * 4
    for case, start, channels in zip(batch["case"], batch["start"], batch["channels"], strict=True):
        assert [*channels] == (["T1", "T2", "ADC"] if case == "a" else ["PD"])
        for number, crop in enumerate(channels.values()):
            assert crop.shape == (8, 8, 8) and float(crop[0, 0, 0]) == sum(start) + 1000 * number
    assert len({tuple(start) for start in batch["start"]}) > 1
    assert [crops[4]["start"], crops[4]["case"]] == [batch["start"][0], batch["case"][0]]


class Held:
    """What classified crops need of a prepared case."""

    def __init__(self, number: int) -> None:
        self.id = f"case_{number}"
        self.shape, self.spacing = (8, 6, 5), (1.0, 1.0, 1.0)
        self._image = np.full((1, 8, 6, 5), number, np.float16)

    def image(self) -> np.ndarray:
        return self._image


def met(balanced: bool, steps: int) -> tuple[list[int], list[int]]:
    """Cases and classes of ``steps`` batches of two, of nine cases of class 0 and one of 1."""
    cases = [Held(number) for number in range(10)]
    classes = {case.id: int(number == 7) for number, case in enumerate(cases)}
    crops = ClassifiedCrops(cases, classes, (4, 4, 4), 3, balanced, torch.device("cpu"))
    batches = [crops.batch(step, 2, 1) for step in range(steps)]
    seen = torch.cat([images.amax((1, 2, 3, 4)) for images, *_ in batches]).int().tolist()
    return seen, torch.cat([labels for _, labels, _ in batches]).tolist()


def test_each_case_comes_once_in_an_epoch_with_its_class() -> None:
    seen, classes = met(balanced=False, steps=10)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert classes == [int(number == 7) for number in seen]


def test_balanced_crops_show_classes_equally_often_and_every_case() -> None:
    seen, classes = met(balanced=True, steps=9)
    assert classes == [int(number == 7) for number in seen]
    assert all(sorted(classes[i : i + 2]) == [0, 1] for i in range(0, 18, 2))
    assert sorted(number for number in seen if number != 7) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert met(balanced=True, steps=9) == (seen, classes)
