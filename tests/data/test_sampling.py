"""Which crops a pretraining step sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from medssl_bench.data.sampling import UnlabelledCrops


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
