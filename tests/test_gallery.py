"""Pictures over training: when they are taken, and how they are turned."""

import io

import numpy as np
import torch
from PIL import Image

from medssl_bench.gallery import MOMENTS, Gallery


def test_eight_moments_evenly_and_the_end() -> None:
    gallery = Gallery(1000)
    assert [step for step in range(1, 1001) if gallery.due(step)] == list(range(125, 1001, 125))
    # Where steps are looked at by threes, the first look at or after each moment.
    looks = [step for step in range(3, 1001, 3) if gallery.due(step, 3)]
    assert looks == [126, 252, 375, 501, 627, 750, 876]
    assert [step for step in range(1, 4) if Gallery(3).due(step)] == [1, 2, 3]
    assert MOMENTS == 8


def test_pictures_go_through_a_checkpoint_and_are_shown_as_radiologists_do() -> None:
    picture = torch.zeros(4, 6)
    picture[0, 5] = 1.0  # the patient's left, anterior
    picture[3, 0] = 0.5  # the patient's right, posterior
    first = Gallery(10)
    first.take(2, {"T1": picture})
    first.take(3, {})
    again = Gallery(10, first.state())
    assert again.files() == first.files() and list(first.files()) == ["pictures/T1_2.png"]
    shown = np.asarray(Image.open(io.BytesIO(again.files()["pictures/T1_2.png"])))
    assert shown.shape == (6, 4)
    assert shown[0, 3] == 255  # top right: anterior, left
    assert shown[5, 0] == 128  # bottom left: posterior, right
    assert np.count_nonzero(shown) == 2
