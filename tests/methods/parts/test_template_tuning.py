"""Templates in fine-tuning, against NumPy and hand computations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medssl_bench.data.sampling import keyed_rng
from medssl_bench.errors import BenchError
from medssl_bench.method import Place
from medssl_bench.methods.brainmvp import BrainMVP
from medssl_bench.methods.parts.template_tuning import TemplateTuning, TemplateTuningConfig

CONTRASTS = ("T1", "T1c", "", "FLAIR")
SHAPE, CROP = (20, 18, 16), (8, 8, 8)
PLACE = Place((3, 5, 2), (18, 16, 17), (2.0, 2.0, 2.0))


LEARNED = {"lambda_md": 1.0, "lambda_cl": 1.0, "contrast_from": 0.5, "template_only": 0.0}


def volume(seed: int) -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


TEMPLATES = {name: volume(i) for i, name in enumerate(("T1", "T1c", "FLAIR", "ADC"))}


def tuning(contrasts: tuple[str, ...] = CONTRASTS, **changes: Any) -> TemplateTuning:
    return TemplateTuning(
        TemplateTuningConfig(**changes), contrasts, TEMPLATES, (2.0, 2.0, 2.0), CROP
    )


def images(count: int = 3, channels: int = 4) -> torch.Tensor:
    source = torch.Generator().manual_seed(9)
    return torch.rand((count, channels, *CROP), generator=source) + 2  # no template is above 1


def replaced(copy: torch.Tensor, image: torch.Tensor) -> list[bool]:
    """Whether each channel is another one, and then that it is so in every voxel."""
    changed = (copy != image).flatten(1)
    assert (changed.all(1) == changed.any(1)).all()
    return changed.all(1).tolist()


def test_whole_channels_are_replaced_by_their_template_at_the_crops_place() -> None:
    whole, places = images(), [PLACE._replace(start=(i, 5, 2)) for i in range(3)]
    seen: Counter[int] = Counter()
    for step in range(300):
        for copy in tuning().copies(whole, places, keyed_rng(0, "copies", step)):
            for each, image, place in zip(copy, whole, places, strict=True):
                changed = replaced(each, image)
                assert not changed[2]  # its contrast is unknown
                seen[sum(changed)] += 1
                for channel in np.flatnonzero(changed):
                    # middle on middle: (20 - 18) // 2 = 1, (18 - 16) // 2 = 1, (16 - 17) // 2 = -1
                    x, y, z = place.start[0] + 1, 5 + 1, 2 - 1
                    part = TEMPLATES[CONTRASTS[channel]][x : x + 8, y : y + 8, z : z + 8]
                    assert torch.equal(each[channel], part)
    assert set(seen) == {0, 1, 2, 3}
    assert all(abs(seen[number] / 1800 - 0.25) < 0.05 for number in range(4))  # 5 deviations


def test_copies_hold_all_channels_in_their_order() -> None:
    """A paper's code that interleaves them would give each copy half of them twice."""
    whole = images()
    for copy in tuning(replaced=0).copies(whole, [PLACE] * 3, keyed_rng(0)):
        assert torch.equal(copy, whole)


def test_one_channel_always_stays() -> None:
    two = tuning(("T1", "FLAIR"), replaced=3)
    for step in range(60):
        for copy in two.copies(images(1, 2), [PLACE], keyed_rng(step)):
            assert sum(replaced(copy[0], images(1, 2)[0])) <= 1


@pytest.mark.parametrize("ratio", [0.875, 0.5])
def test_a_single_channel_shows_its_template_in_cells(ratio: float) -> None:
    alone = tuning(("FLAIR",), cell=4, ratio=ratio)
    whole = images(2, 1)
    first, second = alone.copies(whole, [PLACE] * 2, keyed_rng(4))
    assert not torch.equal(first, second)
    template = TEMPLATES["FLAIR"][4:12, 6:14, 1:9]
    for copy in (first, second):
        for each, image in zip(copy[:, 0], whole[:, 0], strict=True):
            shown = each != image
            assert torch.equal(each[shown], template[shown])
            cells = shown.view(2, 4, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).flatten(3).float()
            assert set(cells.mean(-1).flatten().tolist()) <= {0.0, 1.0}
            assert int(cells.mean(-1).sum()) == round(8 * ratio)


def test_other_voxels_are_reached_by_linear_interpolation_middle_on_middle() -> None:
    place = Place((-1, 4, 3), (40, 30, 17), (1.0, 1.5, 2.0))
    found = tuning().stand_in(3, place, CROP)
    assert found is not None
    own = np.indices(CROP).reshape(3, -1) + np.array(place.start)[:, None]
    millimetres = (own - (np.array(place.shape)[:, None] - 1) / 2) * np.array(place.spacing)[
        :, None
    ]
    at = millimetres / 2.0 + (np.array(SHAPE)[:, None] - 1) / 2
    padded = np.pad(TEMPLATES["FLAIR"].double().numpy(), 1)  # SciPy cuts off at the outermost voxel
    wanted = map_coordinates(padded, at + 1, order=1, mode="constant").reshape(CROP)
    assert np.allclose(found.numpy(), wanted, atol=1e-6)
    assert tuning().stand_in(2, place, CROP) is None
    near = tuning().stand_in(3, PLACE._replace(spacing=(2.03, 1.95, 2.08)), CROP)
    assert near is not None and torch.equal(near, tuning().stand_in(3, PLACE, CROP))


def test_the_distance_of_the_copies() -> None:
    source = torch.Generator().manual_seed(1)
    first, second = (torch.randn((2, 5, 2, 2, 2), generator=source) for _ in range(2))
    apart = (first.double() - second.double()).numpy()
    by_hand = 0.1 * np.mean([np.sqrt((case**2).sum()) for case in apart])
    assert float(tuning().term((first, second), ())) == pytest.approx(by_hand, rel=1e-6)
    logits = [(first, first[:, :1]), (second, second[:, :1])]
    found = tuning(consistency_of="logits", consistency=0.5).term((first, second), logits)
    by_hand = 0.5 * np.mean([(apart**2).mean(), (apart[:, :1] ** 2).mean()])
    assert float(found) == pytest.approx(by_hand, rel=1e-6)


def test_the_distance_of_equal_copies_has_a_finite_gradient() -> None:
    features = torch.ones((2, 3, 1, 1, 1), requires_grad=True)
    tuning().term((features * 1, features * 1), ()).backward()
    assert features.grad is not None and torch.isfinite(features.grad).all()


def test_words_tell_settings_apart() -> None:
    config: dict[str, Any] = {"tuning": {}, "modalities": ("T1", "FLAIR"), **LEARNED}

    def words(contrasts: Sequence[str], modalities: Sequence[str] = ("T1",), **other: Any) -> str:
        return BrainMVP.tuning_words({**config, **other}, contrasts, modalities, (16, 16, 16))

    assert words(("T1", "")) == "templates"
    assert words(("CT",)) == ""
    changed = {"replaced": 2, "consistency_of": "logits"}
    assert words(("T1",), tuning=changed) == "templates replaced=2 consistency_of=logits"
    assert words(("T1",), tuning={"use": False}) == ""
    never = dict.fromkeys(LEARNED, 0.0)
    assert words(("T1",), **never) == ""
    assert words(("T1",), **{**never, "lambda_cl": 1.0, "contrast_from": 0.5}) == "templates"
    assert words(("T1",), **{**never, "lambda_cl": 1.0, "contrast_from": 1.0}) == ""
    assert words(("T1",), ("FLAIR", "T2")) == ""  # no case pretrained on has it
    assert words(("FLAIR", "T1"), ("T1", "T2")) == "templates"
    with pytest.raises(BenchError, match="replaced=-1 must be 0 or above"):
        words(("T1", "FLAIR"), tuning={"replaced": -1})
    with pytest.raises(BenchError, match="cell=5 does not divide the crop"):
        words(("T1",), tuning={"cell": 5})
    assert words(("T1", "FLAIR"), tuning={"cell": 5}) == "templates cell=5"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BenchError, match="no template of PD: there are those of T1, T1c"):
        tuning(("PD",))
    with pytest.raises(BenchError, match="cell=5 does not divide the crop"):
        tuning(("T1",), cell=5)
    config = {"tuning": {}, "modalities": ("T1",)}
    with pytest.raises(BenchError, match="voxels of different sizes"):
        BrainMVP.tuning(config, ("T1",), TEMPLATES, None, CROP)
