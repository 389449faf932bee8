"""Channels on different grids: resampled onto one of them by physical position, or refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.reading import FileSource
from medssl_bench.data.regrid import coverage, resample, same_grid
from medssl_bench.data.volume import Header, Volume
from medssl_bench.errors import DataError
from medssl_bench.task import Case, Intensity, Preprocessing, Task
from medssl_bench.validation import check_cases

RNG = np.random.default_rng(4)
GRID = Header((20, 18, 12), np.diag([1.5, 1.5, 3.0, 1.0]))
OBLIQUE = np.array(
    [[0.1, 1.9, 0.2, -2.0], [-1.7, 0.1, -0.4, 30.0], [0.3, -0.2, 2.4, -3.0], [0, 0, 0, 1.0]]
)
ASKED = Preprocessing(spacing=None, intensity=Intensity(low=0, high=100), grid="dwi")


def test_equals_scipy_at_the_same_places() -> None:
    """Storage axes exchanged, oblique and sheared, with voxels of another size."""
    volume = Volume(RNG.normal(50, 9, (19, 17, 15)).astype(np.float32), OBLIQUE)
    result = resample(volume, GRID)
    index = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij")).reshape(3, -1)
    place = GRID.affine[:3, :3] @ index + GRID.affine[:3, 3:]
    there = np.linalg.solve(OBLIQUE[:3, :3], place - OBLIQUE[:3, 3:])
    expected = map_coordinates(volume.array, there, order=1, mode="nearest")
    sides = np.array(volume.array.shape)[:, None]
    inside = ((there >= 0) & (there <= sides - 1)).all(0)
    outside = ((there < -0.5) | (there > sides - 0.5)).any(0)
    assert inside.mean() > 0.3 and outside.mean() > 0.01
    np.testing.assert_allclose(result.array.ravel()[inside], expected[inside], atol=2e-3)
    assert (result.array.ravel()[outside] == volume.array.min()).all()
    np.testing.assert_array_equal(result.affine, GRID.affine)


def test_a_volume_on_the_grid_keeps_its_voxels() -> None:
    array = RNG.integers(0, 99, GRID.shape).astype(np.int16)
    nearly = GRID.affine.copy()
    nearly[0, 3] += 0.1
    result = resample(Volume(array, nearly), GRID)
    assert result.array is array
    np.testing.assert_array_equal(result.affine, GRID.affine)
    far = GRID.affine.copy()
    far[0, 3] += 1.5
    assert not same_grid(Header(GRID.shape, far), GRID)
    moved = resample(Volume(array, far), GRID)
    np.testing.assert_allclose(moved.array[1:], array[:-1], atol=1e-4)


@pytest.mark.parametrize(("shift_mm", "share"), [(0, 1), (15, 0.5), (29.5, 1 / 9), (60, 0)])
def test_coverage(shift_mm: float, share: float) -> None:
    away = GRID.affine.copy()
    away[0, 3] += shift_mm
    # Of nine places along x, 0 to 28.5 mm apart, those from the edge of the other volume on.
    assert coverage(GRID, Header(GRID.shape, away)) == pytest.approx(share, abs=0.12)


def pair(folder: Path, affine: NDArray[np.float64]) -> tuple[Case, NDArray[np.int16]]:
    """Return a case with ``flair`` first, on a grid of its own, and the array of ``dwi``."""
    dwi = RNG.integers(1, 99, GRID.shape).astype(np.int16)
    parts = {
        "flair": (RNG.integers(1, 99, (19, 17, 15)).astype(np.int16), affine),
        "dwi": (dwi, GRID.affine),
        "label": ((dwi > 60).astype(np.uint8), GRID.affine),
    }
    for name, (array, where) in parts.items():
        nib.save(nib.Nifti1Image(array, where), folder / f"{name}.nii.gz")
    images = {name: FileSource(folder / f"{name}.nii.gz") for name in ("flair", "dwi")}
    return Case("a", images, FileSource(folder / "label.nii.gz"), "a"), dwi


def test_a_prepared_case_lies_on_the_grid_that_was_asked_for(tmp_path: Path) -> None:
    """Whichever channel comes first, label and native grid are those of the ruling one."""
    case, dwi = pair(tmp_path, OBLIQUE)
    prepared = VolumeCache(tmp_path / "cache").prepare(case, ASKED, channels=("flair", "dwi"))
    assert prepared.shape == prepared.native_shape == GRID.shape
    np.testing.assert_allclose(prepared.native_affine, GRID.affine, atol=1e-5)
    np.testing.assert_allclose(prepared.image()[1], dwi / 100, atol=1e-3)
    np.testing.assert_array_equal(prepared.native_label(), dwi > 60)
    flair = resample(case.images["flair"].read(), GRID).array
    np.testing.assert_allclose(prepared.image()[0], flair / 100, atol=1e-3)


def test_the_grid_is_part_of_the_key_only_where_it_is_asked_for() -> None:
    assert "grid" not in Preprocessing().model_dump(mode="json")
    assert ASKED.model_dump(mode="json")["grid"] == "dwi"
    assert Preprocessing.model_validate(ASKED.model_dump()) == ASKED


def test_groups_that_are_not_on_one_grid_are_refused_by_name(tmp_path: Path) -> None:
    case, _ = pair(tmp_path, OBLIQUE)
    plain = ASKED.model_copy(update={"grid": None})
    task = Task(name="t", channels=("flair", "dwi"), classes={1: "lesion"}, preprocessing=plain)
    words = [finding.message for finding in check_cases([case], task)]
    (word,) = words
    assert "dwi has shape 20x18x12" in word and "flair has 19x17x15" in word
    assert "`grid: flair`" in word
    with pytest.raises(DataError, match=r"dwi.nii.gz: shape \(20, 18, 12\) differs"):
        VolumeCache(tmp_path / "cache").prepare(case, plain, channels=("flair", "dwi"))
    asked = task.model_copy(update={"preprocessing": ASKED})
    assert check_cases([case], asked) == []


def test_a_label_that_is_not_on_the_ruling_grid_is_refused(tmp_path: Path) -> None:
    case, _ = pair(tmp_path, OBLIQUE)
    rule = ASKED.model_copy(update={"grid": "flair"})
    task = Task(name="t", channels=("flair", "dwi"), classes={1: "lesion"}, preprocessing=rule)
    (finding,) = check_cases([case], task)
    assert finding.level == "error" and "label has shape 20x18x12, flair has" in finding.message


def test_a_channel_that_does_not_reach_the_grid(tmp_path: Path) -> None:
    far = OBLIQUE.copy()
    far[2, 3] += 400
    case, _ = pair(tmp_path, far)
    task = Task(name="t", channels=("flair", "dwi"), classes={1: "lesion"}, preprocessing=ASKED)
    (finding,) = check_cases([case], task)
    assert finding.level == "error"
    assert "flair lies nowhere on the grid of dwi" in finding.message
    with pytest.raises(DataError, match=r"flair.nii.gz: lies nowhere on the grid of .*dwi.nii.gz"):
        VolumeCache(tmp_path / "cache").prepare(case, ASKED, channels=("flair", "dwi"))
    with pytest.raises(DataError, match="no channel 'adc', onto whose grid"):
        VolumeCache(tmp_path / "cache").prepare(
            case, ASKED.model_copy(update={"grid": "adc"}), channels=("flair", "dwi")
        )
