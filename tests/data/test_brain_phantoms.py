"""Brain phantoms: eight aligned contrasts that show what such contrasts show, from four sites."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from functools import cache

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medssl_bench.data.phantoms import brain_sources
from medssl_bench.data.phantoms.brain_signals import CONTRASTS, TISSUES, Protocol, signal
from medssl_bench.data.phantoms.brain_sources import SITES, BrainSource, contrasts_of
from medssl_bench.digest import seed_from
from medssl_bench.registry import corpora, tasks

PLAIN = Protocol(dict.fromkeys(CONTRASTS, 1.0))


@cache
def exam(seed: int, grade: str) -> dict[str, NDArray[np.float32]]:
    """Every contrast of a subject and its label, in RAS by nibabel, at the site that has all."""
    volumes = {}
    for part in (*CONTRASTS, "label"):
        volume = BrainSource(seed, "west", part, grade).read()  # type: ignore[arg-type]
        image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.array, volume.affine))
        volumes[part] = np.asarray(image.dataobj, np.float32)
    return volumes


def means(volumes: dict[str, NDArray[np.float32]], region: NDArray[np.bool_]) -> dict[str, float]:
    """Mean of each contrast in a region, over its mean in the brain outside of lesions."""
    healthy = (volumes["T1"] > 0) & (volumes["label"] == 0)
    return {
        name: volumes[name][region].mean() / volumes[name][healthy].mean() for name in CONTRASTS
    }


def test_a_seed_gives_the_same_bytes_in_another_process_at_another_thread_count() -> None:
    parts = ("T1", "MRA", "label")
    here = [
        hashlib.sha256(BrainSource(7, "west", part, "high").read().array.tobytes()).hexdigest()
        for part in parts
    ]
    code = (
        "import hashlib\n"
        "from medssl_bench.data.phantoms.brain_sources import BrainSource\n"
        f"for part in reversed({parts!r}):\n"
        "    array = BrainSource(7, 'west', part, 'high').read().array\n"
        "    print(hashlib.sha256(array.tobytes()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here[::-1]


def test_contrasts_and_label_share_one_grid_and_are_stripped_of_the_skull() -> None:
    for site, place in SITES.items():
        names = (*place.contrasts, "label")
        sources = [BrainSource(3, site, name, "high") for name in names]
        volumes = [source.read() for source in sources]
        for source, volume in zip(sources, volumes, strict=True):
            assert volume.array.shape == source.header().shape == volumes[0].array.shape
            assert np.array_equal(volume.affine, volumes[0].affine)
        assert nibabel.aff2axcodes(volumes[0].affine) == tuple(place.layout)
        air = volumes[0].array == 0
        assert 0.2 < 1 - air.mean() < 0.6
        edge = np.ones_like(air)
        edge[2:-2, 2:-2, 2:-2] = False
        assert air[edge].all()
        for volume in volumes[1:-1]:  # noise leaves single zeros inside
            assert (volume.array != 0)[air].mean() < 0.01
        assert (volumes[-1].array[ndimage.binary_erosion(air)] == 0).all()


def test_water_is_bright_on_t2_and_adc_and_dark_on_t1_flair_and_dwi() -> None:
    volumes = exam(4, "none")
    inner = ndimage.binary_erosion(volumes["T1"] > 0, iterations=6)
    water = inner & (volumes["ADC"] > 2.3 * np.median(volumes["ADC"][inner]))
    assert water.sum() > 50
    found = means(volumes, water)
    assert found["T2"] > 1.6 and found["ADC"] > 2
    assert found["T1"] < 0.75 and found["FLAIR"] < 0.6 and found["DWI"] < 0.7


def test_a_high_grade_glioma_has_a_rim_that_takes_up_medium_and_a_low_grade_one_has_not() -> None:
    volumes = exam(6, "high")
    label = volumes["label"]
    assert set(np.unique(label)) == {0, 1, 2, 3}
    rim, halo = means(volumes, label == 3), means(volumes, label == 2)
    assert rim["T1c"] > rim["T1"] + 0.25 and rim["T1c"] > 1.2
    assert abs(halo["T1c"] - halo["T1"]) < 0.15 and halo["FLAIR"] > 1.25
    # The core lies inside the rim, and both inside what is swollen.
    around = ndimage.binary_dilation(label == 1) & (label != 1)
    assert (label[around] == 3).mean() > 0.95
    around = ndimage.binary_dilation((label == 1) | (label == 3)) & (label != 1) & (label != 3)
    assert (label[around] == 2).mean() > 0.6
    low = exam(6, "low")
    assert set(np.unique(low["label"])) == {0, 1, 2}
    core = means(low, low["label"] == 1)
    assert abs(core["T1c"] - core["T1"]) < 0.15
    assert not exam(4, "none")["label"].any()


def test_the_finding_alone_differs_between_grades() -> None:
    """Away from the lesion the same subject is voxel for voxel the same."""
    high, low = exam(6, "high"), exam(6, "low")
    lesion = (high["label"] > 0) | (low["label"] > 0)
    away = ndimage.distance_transform_edt(~lesion) > 2.5  # partial volume and the scanner's blur
    assert all(np.array_equal(high[name][away], low[name][away]) for name in CONTRASTS)
    assert not np.array_equal(high["T1c"], low["T1c"])


def test_arteries_are_what_is_bright_on_time_of_flight() -> None:
    volumes = exam(4, "none")
    brightest = volumes["MRA"] > 1.6 * np.median(volumes["MRA"][volumes["MRA"] > 0])
    assert 20 < brightest.sum() < 0.02 * (volumes["MRA"] > 0).sum()
    found = means(volumes, brightest)
    assert found["T1c"] > found["T1"] + 0.2  # blood holds the medium


def test_signals_are_those_of_their_equations() -> None:
    white, water, artery = (TISSUES[name] for name in ("white_matter", "csf", "artery"))
    assert signal("T1", white, PLAIN) == pytest.approx(
        0.70 * (1 - math.exp(-600 / 830)) * math.exp(-12 / 75)
    )
    assert signal("T2", white, PLAIN) == pytest.approx(
        0.70 * (1 - math.exp(-4500 / 830)) * math.exp(-100 / 75)
    )
    assert signal("DWI", white, PLAIN) == pytest.approx(
        0.70 * (1 - math.exp(-5000 / 830)) * math.exp(-80 / 75) * math.exp(-1000 * 0.75e-3)
    )
    shortened = 1 / (1 / 1.65 + 4.5 * 0.8) * 1000
    assert signal("T1c", artery, PLAIN) == pytest.approx(
        0.85 * (1 - math.exp(-600 / shortened)) * math.exp(-12 / 150)
    )
    assert signal("FLAIR", water, PLAIN) == pytest.approx(0, abs=1e-12)
    assert signal("ADC", water, PLAIN) == 3.0
    flip = math.radians(20)
    saturated = math.exp(-25 / 830)
    assert signal("MRA", white, PLAIN) == pytest.approx(
        0.70 * math.sin(flip) * (1 - saturated) / (1 - saturated * math.cos(flip))
        * math.exp(-4 / 75)
    )  # fmt: skip
    assert signal("MRA", artery, PLAIN) > 3 * signal("MRA", white, PLAIN)


def test_the_corpus_has_four_sites_and_cases_that_lack_modalities() -> None:
    corpus = corpora.load("phantom_brain")
    cases = corpus.cases(None)
    assert len(cases) == 160 and {case.info["site"] for case in cases} == set(SITES)
    assert {name for case in cases for name in case.images} == set(CONTRASTS)
    assert set(corpus.preprocessing) == set(CONTRASTS)
    kinds = {}
    for case in cases:
        names, site = tuple(case.images), case.info["site"]
        assert len(names) >= 2
        assert site == "west" or names == SITES[site].contrasts
        kinds.setdefault(site, set()).add(names)
    assert len(kinds["west"]) > 15
    counts = [len(case.images) for case in cases if case.info["site"] == "west"]
    assert min(counts) < 5 and max(counts) == 8


def test_missing_contrasts_are_missing_by_chance_and_for_good() -> None:
    drawn = [contrasts_of(seed, "west") for seed in range(400)]
    assert drawn == [contrasts_of(seed, "west") for seed in range(400)]
    shares = [sum(name in names for names in drawn) / 400 for name in CONTRASTS]
    # Two are kept in any case, the other six with a chance of 0.6.
    assert all(abs(share - (2 + 6 * 0.6) / 8) < 0.09 for share in shares)


@pytest.mark.parametrize("name", ["phantom_brain_tumor", "phantom_brain_grade"])
def test_tasks_show_what_they_ask_for(name: str) -> None:
    task = tasks.load(name)
    cases = task.cases(None)
    assert len({case.id for case in cases}) == 64
    assert all(tuple(case.images) == task.channels for case in cases)
    grades = [case.images["T1"].grade for case in cases]
    if task.classifies:
        assert [case.class_id for case in cases] == [int(grade == "high") for grade in grades]
        for pool in ("train", "test"):
            shown = [case.class_id for case in cases if case.pool == pool]
            assert sum(shown) == len(shown) / 2
            for site in ("north", "east", "west"):  # no site tells the class
                ids = {c.class_id for c in cases if c.pool == pool and c.info["site"] == site}
                assert ids == {0, 1}
    else:
        assert grades.count("low") == 16
        assert task.targets == {
            "whole_tumour": (1, 2, 3), "tumour_core": (1, 3), "enhancing_tumour": (3,),
        }  # fmt: skip


def test_no_subject_is_shared_between_pools_tasks_and_corpora() -> None:
    seeds = [
        case.images[next(iter(case.images))].seed
        for owner in (
            tasks.load("phantom_brain_tumor"),
            tasks.load("phantom_brain_grade"),
            corpora.load("phantom_brain"),
        )
        for case in owner.cases(None)
    ]
    assert len(set(seeds)) == len(seeds) == 2 * 64 + 160


def test_what_a_reader_writes_changes_no_other_reading() -> None:
    brain_sources._exam.cache_clear()
    source = BrainSource(seed_from("tests", "brain"), "south", "PD")
    image = source.read().array
    kept = image.copy()
    image[:] = 0  # type: ignore[index]
    np.testing.assert_array_equal(source.read().array, kept)
