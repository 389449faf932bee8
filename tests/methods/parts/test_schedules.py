from __future__ import annotations

import math

import pytest

from medssl_bench.method import Progress
from medssl_bench.methods.parts.schedules import cosine, warm_up


def test_warm_up_at_the_start_middle_end_and_after():
    share = 30 / 500
    assert warm_up(Progress(0, 1000).fraction, 0.04, 0.07, share) == 0.04
    assert warm_up(Progress(30, 1000).fraction, 0.04, 0.07, share) == pytest.approx(0.055)
    assert warm_up(Progress(60, 1000).fraction, 0.04, 0.07, share) == 0.07
    assert warm_up(Progress(999, 1000).fraction, 0.04, 0.07, share) == 0.07


def test_no_warm_up_is_the_end_value_at_once():
    assert warm_up(0.0, 0.04, 0.07, 0.0) == 0.07


def test_cosine_at_the_start_middle_and_end():
    assert cosine(0.0, 0.996, 1.0) == pytest.approx(0.996)
    assert cosine(0.5, 0.996, 1.0) == pytest.approx(0.998)
    assert cosine(1.0, 0.996, 1.0) == 1.0
    last = 1.0 - 0.002 * (1 + math.cos(math.pi * 999 / 1000))
    assert cosine(Progress(999, 1000).fraction, 0.996, 1.0) == pytest.approx(last, abs=1e-12)


def test_cosine_depends_on_the_global_step_not_on_the_length_of_an_epoch():
    assert cosine(Progress(50, 100).fraction, 0.9, 1.0) == cosine(
        Progress(5000, 10000).fraction, 0.9, 1.0
    )
