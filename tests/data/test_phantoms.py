"""Phantoms: the same seed gives the same bytes, and the anatomy is where and what it should be."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medssl_bench.data.phantoms import PhantomSource, phantom_seeds, sources, write_nifti
from medssl_bench.data.phantoms.acquisition import acquire
from medssl_bench.data.phantoms.fields import Grid
from medssl_bench.data.volume import Source, Volume
from medssl_bench.registry import corpora, tasks
from medssl_bench.task import Case, Corpus, Task

TASKS = ("phantom_ct", "phantom_mri")
SAMPLE = 6


def _task(name: str) -> Task:
    task: Task = tasks.load(name)
    return task


def _corpus(name: str) -> Corpus:
    corpus: Corpus = corpora.load(name)
    return corpus


def _ras(volume: Volume) -> nibabel.Nifti1Image:
    return nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.array, volume.affine))


@cache
def _rendered(task: str, number: int) -> tuple[Case, NDArray[np.float32], NDArray[np.uint8], Grid]:
    """A test case with its image and label in RAS, by nibabel."""
    case = [case for case in _task(task).cases(None) if case.pool == "test"][number]
    assert case.label is not None
    image, label = _ras(case.images["image"].read()), _ras(case.label.read())
    affine = image.affine
    grid = Grid(image.shape, tuple(np.diag(affine)[:3]), tuple(affine[:3, 3]))
    return case, np.asarray(image.dataobj, np.float32), np.asarray(label.dataobj), grid


def _id(task: str, organ: str) -> int:
    return next(number for number, name in _task(task).classes.items() if name == organ)


def _centre(label: NDArray[np.uint8], grid: Grid, number: int) -> NDArray[np.float64]:
    return np.argwhere(label == number).mean(0) * grid.spacing + grid.origin


def _bytes_digest(source: Source) -> str:
    return hashlib.sha256(source.read().array.tobytes()).hexdigest()


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_seed_gives_the_same_bytes_in_another_process_at_another_thread_count(modality: str):
    here = [
        _bytes_digest(PhantomSource(12345, modality, part))  # type: ignore[arg-type]
        for part in ("image", "label")
    ]
    code = (
        "import hashlib\n"
        "from medssl_bench.data.phantoms import PhantomSource\n"
        "for part in ('image', 'label'):\n"
        f"    array = PhantomSource(12345, {modality!r}, part).read().array\n"
        "    print(hashlib.sha256(array.tobytes()).hexdigest())"
    )
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    there = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here


def test_image_does_not_depend_on_which_part_was_read_first_nor_on_what_a_reader_wrote():
    sources._rendered.cache_clear()
    image = PhantomSource(5, "MR").read().array
    kept = image.copy()
    image[:] = 0
    PhantomSource(5, "MR", "label").read()
    np.testing.assert_array_equal(PhantomSource(5, "MR").read().array, kept)
    sources._rendered.cache_clear()
    PhantomSource(5, "MR", "label").read()
    np.testing.assert_array_equal(PhantomSource(5, "MR").read().array, kept)


def test_no_subject_is_shared_between_pools_tasks_and_corpora():
    seeds: list[int] = []
    for name in TASKS:
        seeds += [case.images["image"].seed for case in _task(name).cases(None)]  # type: ignore[attr-defined]
    for name in ("phantom_ct", "noise"):
        seeds += [case.images["CT"].seed for case in _corpus(name).cases(None)]  # type: ignore[attr-defined]
    assert len(seeds) == 2 * (40 + 24) + 2 * 240
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("name", TASKS)
def test_task_agrees_with_its_registry_entry(name: str):
    task, info = _task(name), tasks.entry(name).info
    pools = [case.pool for case in task.cases(None)]
    assert (pools.count("train"), pools.count("test")) == (info["train"], info["test"])
    assert info["test"] >= 20
    assert list(task.classes.values()) == info["classes"]
    assert list(task.classes) == list(range(1, len(task.classes) + 1))
    assert (task.modality, task.kind) == (info["modality"], info["kind"])
    assert task.name == name and not task.needs_data


@pytest.mark.parametrize("name", ["phantom_ct", "noise"])
def test_corpus_agrees_with_its_registry_entry(name: str):
    corpus, info = _corpus(name), corpora.entry(name).info
    cases = corpus.cases(None)
    assert len(cases) == info["cases"] >= 200
    assert len({case.id for case in cases}) == len(cases)
    assert all(case.label is None for case in cases)
    assert {channel for case in cases for channel in case.images} == set(info["modalities"])
    assert set(corpus.preprocessing) == set(info["modalities"])


@pytest.mark.parametrize("name", TASKS)
def test_header_without_rendering_equals_header_of_the_voxels(name: str):
    case = _rendered(name, 0)[0]
    assert case.label is not None
    for source in (case.images["image"], case.label):
        before, after = source.header(), source.read().header
        assert before.shape == after.shape
        np.testing.assert_array_equal(before.affine, after.affine)
    assert case.images["image"].read().array.shape == case.label.read().array.shape
    assert case.images["image"].read().array.dtype == np.int16
    assert case.label.read().array.dtype == np.uint8


def test_noise_has_a_header_like_the_phantoms():
    shapes = {
        name: np.array([sorted(c.images["CT"].header().shape) for c in _corpus(name).cases(None)])
        for name in ("phantom_ct", "noise")
    }
    np.testing.assert_allclose(shapes["noise"].mean(0), shapes["phantom_ct"].mean(0), rtol=0.03)
    source = _corpus("noise").cases(None)[0].images["CT"]
    assert source.read().array.shape == source.header().shape
    np.testing.assert_array_equal(source.read().array, source.read().array)


def test_digest_tells_subjects_parts_and_modalities_apart_and_survives_pickling():
    made = [
        PhantomSource(seed, modality, part)  # type: ignore[arg-type]
        for seed in (1, 2)
        for modality in ("CT", "MR")
        for part in ("image", "label")
    ]
    digests = [source.digest() for source in made]
    assert len(set(digests)) == len(digests)
    assert [pickle.loads(pickle.dumps(source)).digest() for source in made] == digests


def test_every_stored_orientation_holds_the_same_anatomy():
    taken = acquire(3, "CT")
    array = np.arange(np.prod(taken.grid.shape), dtype=np.int32).reshape(taken.grid.shape)
    for layout in ("RAS", "LPS", "LAS", "LPI", "LSA", "PSR"):
        turned = replace(taken, layout=layout)
        assert "".join(nibabel.aff2axcodes(turned.header().affine)) == layout
        back = _ras(Volume(turned.store(array), turned.header().affine))
        np.testing.assert_array_equal(np.asarray(back.dataobj), array)
        np.testing.assert_allclose(back.affine, taken.grid.affine, atol=1e-9)


@pytest.mark.parametrize("name", TASKS)
def test_cases_are_stored_in_several_orientations_and_contrasts(name: str):
    cases = _task(name).cases(None)
    layouts = {nibabel.aff2axcodes(case.images["image"].header().affine) for case in cases}
    assert len(layouts) >= 3
    assert len({case.info["contrast"] for case in cases if case.pool == "test"}) >= 3


# Plausible volumes in ml; wide, since subjects vary and MR views end at the kidneys.
VOLUMES = {
    "liver": (700, 2200),
    "spleen": (60, 450),
    "right_kidney": (60, 300),
    "left_kidney": (60, 300),
    "aorta": (30, 200),
    "stomach": (60, 600),
    "pancreas": (20, 150),
    "bladder": (15, 500),
}


@pytest.mark.parametrize("number", range(SAMPLE))
@pytest.mark.parametrize("name", TASKS)
def test_label_ids_are_classes_and_organs_have_the_size_of_organs(name: str, number: int):
    _, _, label, grid = _rendered(name, number)
    assert set(np.unique(label)) <= {0, *_task(name).classes}
    for organ in set(VOLUMES) & set(_task(name).classes.values()):
        low, high = VOLUMES[organ]
        millilitres = (label == _id(name, organ)).sum() * np.prod(grid.spacing) / 1000
        assert low < millilitres < high, (organ, millilitres)


@pytest.mark.parametrize("number", range(SAMPLE))
@pytest.mark.parametrize("name", TASKS)
def test_organs_lie_on_their_side_of_the_patient(name: str, number: int):
    _, _, label, grid = _rendered(name, number)
    x = {organ: _centre(label, grid, k)[0] for k, organ in _task(name).classes.items() if k < 8}
    assert x["right_kidney"] > 20 and x["left_kidney"] < -20
    assert x["liver"] > 20 and x["spleen"] < -50 and x["stomach"] < 0
    y = {organ: _centre(label, grid, k)[1] for k, organ in _task(name).classes.items() if k < 8}
    assert y["stomach"] > y["pancreas"] > y["aorta"]
    assert max(y["right_kidney"], y["left_kidney"]) < y["pancreas"]
    if name == "phantom_ct":
        depth = _centre(label, grid, _id(name, "bladder"))[2]
        assert depth < _centre(label, grid, _id(name, "left_kidney"))[2] - 80


def test_lesions_lie_in_the_liver_of_most_subjects_but_not_of_all():
    found = []
    for number in range(12):
        _, _, label, _ = _rendered("phantom_ct", number)
        lesion = label == _id("phantom_ct", "lesion")
        found.append(bool(lesion.any()))
        if lesion.any():
            edge = ndimage.binary_dilation(lesion) & ~lesion
            assert (label[edge] == _id("phantom_ct", "liver")).mean() > 0.5
    assert 6 <= sum(found) < 12


# Mean HU inside the organ, for (unenhanced, arterial, portal venous).
HU = {
    "liver": ((5, 85), (20, 105), (50, 140)),
    "spleen": ((20, 75), (85, 150), (85, 150)),
    "left_kidney": ((5, 65), (70, 200), (110, 220)),
    "aorta": ((5, 90), (200, 400), (90, 220)),
    "bladder": ((-15, 30), (-15, 30), (-15, 35)),
}


@pytest.mark.parametrize("number", range(SAMPLE))
def test_tissues_have_their_hu(number: int):
    case, image, label, _ = _rendered("phantom_ct", number)
    phase = ("unenhanced", "arterial", "portal_venous").index(case.info["contrast"])
    for organ, ranges in HU.items():
        inside = ndimage.binary_erosion(label == _id("phantom_ct", organ))
        low, high = ranges[phase]
        assert low < np.median(image[inside]) < high, organ
    corner = image[:3, :, :3]
    assert np.median(corner) < -950
    dense = ndimage.binary_opening(image > -400, iterations=2)
    slices = [ndimage.binary_fill_holes(dense[:, :, k]) for k in range(dense.shape[2])]
    body = np.stack(slices, axis=2)  # slice by slice: the lungs are open at the top
    assert 0.3 < body.mean() < 0.8
    inside = image[body]
    assert ((inside < -600).mean() > 0.01) and ((inside > 250).mean() > 0.01)
    fat = inside[(inside > -160) & (inside < -40)]
    assert 0.1 < len(fat) / len(inside) < 0.75
    assert -115 < np.median(fat) < -80


@pytest.mark.parametrize("organ", ["right_kidney", "left_kidney", "spleen", "liver", "pancreas"])
def test_hu_of_organs_overlap_so_that_place_and_form_matter(organ: str):
    _, image, label, _ = _rendered("phantom_ct", 0)
    own = image[label == _id("phantom_ct", organ)]
    low, high = np.percentile(own, [10, 90])
    elsewhere = image[(label != _id("phantom_ct", organ)) & (image > -200)]
    assert ((elsewhere > low) & (elsewhere < high)).sum() > 2 * len(own)


def _extent(case: Case) -> NDArray[np.float64]:
    """Field of view (mm) along R, A and S, from the header."""
    header = case.images["image"].header()
    return np.abs(header.affine[:3, :3]) @ np.array(header.shape)


def test_mr_shows_the_upper_abdomen_only():
    for case in _task("phantom_mri").cases(None):
        extent = _extent(case)
        assert 190 < extent[2] < 255
        assert (np.round(extent / 4) >= _task("phantom_mri").crop).all()
    for case in _task("phantom_ct").cases(None):
        assert 310 < _extent(case)[2] < 420
    assert "bladder" not in _task("phantom_mri").classes.values()
    assert min(_rendered("phantom_mri", number)[1].min() for number in range(SAMPLE)) >= 0


def test_mr_noise_is_rician_in_air():
    """The magnitude of normal noise is Rayleigh in air: mean / std = sqrt(pi / (4 - pi))."""
    _, image, _, _ = _rendered("phantom_mri", 0)
    air = image[:2, -6:, :].ravel()
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.08)


def _neighbour_correlation(array: NDArray[np.generic]) -> list[float]:
    values = array.astype(float) - array.mean()
    pairs = [(np.delete(values, 0, axis), np.delete(values, -1, axis)) for axis in range(3)]
    return [float((a * b).mean() / values.var()) for a, b in pairs]


def test_noise_has_no_structure_where_a_phantom_has():
    noise = _corpus("noise").cases(None)[0].images["CT"].read().array
    phantom = _corpus("phantom_ct").cases(None)[0].images["CT"].read().array
    assert max(np.abs(_neighbour_correlation(noise))) < 0.01
    assert min(_neighbour_correlation(phantom)) > 0.9
    assert noise.std() == pytest.approx(phantom.std(), rel=0.15)
    assert noise.mean() == pytest.approx(phantom.mean(), rel=0.25)


def test_other_words_give_other_seeds():
    assert set(phantom_seeds(("a",), 50)).isdisjoint(phantom_seeds(("b",), 50))
    assert phantom_seeds(("a",), 50)[:10] == phantom_seeds(("a",), 10)


def test_written_nifti_reads_back(tmp_path):
    case = _task("phantom_mri").cases(None)[0]
    paths = write_nifti(case, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"images/{case.id}.nii.gz",
        f"labels/{case.id}.nii.gz",
    ]
    assert case.label is not None
    for path, source in zip(paths, (case.images["image"], case.label), strict=True):
        image, volume = nibabel.load(path), source.read()
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), volume.array)
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
