"""Image and label stay together, and in place, from the file to the network's grid and back."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray

from medssl_bench.data.orientation import from_ras, to_ras
from medssl_bench.data.preprocess import preprocess_image, preprocess_label, restore_labels
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Volume
from medssl_bench.task import Intensity, Preprocessing
from medssl_bench.tasks import load_task

CODES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]
SHAPE, SPACING = (46, 40, 30), (0.9, 1.1, 2.5)
WORKING = Preprocessing(spacing=(1.5, 1.5, 2.0), intensity=Intensity(low=0, high=1))
LANDMARK_MM = np.array([6.0, -5.0, 9.0])
"""Centre of a ball, in no plane of symmetry of the volume."""

TILTS = {
    "straight": np.eye(3),
    "oblique": np.linalg.qr(np.eye(3) + 0.15 * np.random.default_rng(1).normal(size=(3, 3)))[0],
    "sheared": np.array([[1, 0, 0], [0, 1, 0.25], [0, 0, 1.0]]),
}


def stored(codes: str, tilt: str, turned: bool = False) -> NDArray[np.float64]:
    """Return the affine of a volume stored with these codes; ``turned``: by half a turn about z.

    An oblique volume is turned by some 10 degrees about all axes; a sheared one has a tilted
    gantry.
    """
    ras = np.diag([*SPACING, 1.0])
    turn = TILTS[tilt] * np.sign(np.diag(TILTS[tilt]))
    ras[:3, :3] = turn @ ras[:3, :3]
    if turned:
        ras[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ ras[:3, :3]
    ras[:3, 3] = -ras[:3, :3] @ (np.array(SHAPE) - 1) / 2
    back = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    return np.asarray(ras @ inv_ornt_aff(back, SHAPE))


def places(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where every voxel lies, ``(X, Y, Z, 3)`` mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def centre(weights: NDArray[np.generic], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centre of mass in mm."""
    weights = np.asarray(weights, dtype=np.float64)
    return (places(weights.shape, affine) * weights[..., None]).sum((0, 1, 2)) / weights.sum()


def check(affine: NDArray[np.float64], path: Path | None = None) -> None:
    """A ball written with this affine is in its place, in image and label alike, at every step."""
    codes = nib.orientations.io_orientation(affine)
    shape = tuple(SHAPE[int(axis)] for axis in codes[:, 0])
    ball = (np.linalg.norm(places(shape, affine) - LANDMARK_MM, axis=-1) < 8).astype(np.uint8)
    image, label = Volume(ball.astype(np.float32), affine), Volume(ball, affine)
    if path is not None:
        nib.save(nib.Nifti1Image(ball, affine), path)
        image = label = FileSource(path).read()
    ras_image, ras_label = to_ras(image), to_ras(label)
    np.testing.assert_array_equal(ras_image.array, ras_label.array)
    assert nib.aff2axcodes(ras_image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(centre(ras_image.array, ras_image.affine), LANDMARK_MM, atol=0.2)
    working = preprocess_image(ras_image, WORKING)
    labelled = preprocess_label(ras_label, working.header.shape)
    np.testing.assert_allclose(labelled.affine, working.affine)
    half = 0.5 * np.array(working.header.spacing)
    for part in (working, labelled):
        assert (np.abs(centre(part.array, part.affine) - LANDMARK_MM) < half).all()
    inside = working.array[labelled.array == 1]
    # Of the eight voxels around a place, the nearest has at least half the weight along each axis.
    assert inside.min() >= 1 / 8 and working.array[labelled.array == 0].max() <= 7 / 8
    native = restore_labels(
        torch.from_numpy(np.stack([1 - working.array, working.array])), ras_image.header.shape
    )
    back = from_ras(native, affine)
    assert back.shape == ball.shape
    assert (np.abs(centre(back, affine) - LANDMARK_MM) < half).all()
    assert dice(back == 1, ball == 1) > 0.95


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("tilt", TILTS)
@pytest.mark.parametrize("codes", CODES)
def test_a_landmark_keeps_its_place(codes: str, tilt: str) -> None:
    affine = stored(codes, tilt)
    assert tilt != "straight" or "".join(nib.aff2axcodes(affine)) == codes
    check(affine)


@pytest.mark.parametrize("tilt", TILTS)
def test_spacings_of_negative_sign_in_the_file(tilt: str, tmp_path: Path) -> None:
    """As scanners write them: x and y run to the left and back, and the file says so."""
    affine = stored("RAS", tilt, turned=True)
    assert affine[0, 0] < 0 and affine[1, 1] < 0
    check(affine, tmp_path / "scan.nii.gz")


def test_slices_first_as_kits_stores_them(tmp_path: Path) -> None:
    affine = np.array([[0, 0, -0.9, 0], [0, -1.1, 0, 0], [-2.5, 0, 0, 0], [0, 0, 0, 1.0]])
    assert "".join(nib.aff2axcodes(affine)) == "IPL"
    affine[:3, 3] = -affine[:3, :3] @ (np.array([30, 40, 46]) - 1) / 2
    check(affine, tmp_path / "imaging.nii.gz")


@pytest.mark.parametrize("name", ["phantom_ct", "phantom_mri"])
def test_large_organs_survive_the_working_grid(name: str) -> None:
    """Scaled to paper 004's 1.5x1.5x2 mm and back, from finer and from coarser scans."""
    case = load_task(name).cases(None)[0]
    assert case.label is not None
    label = to_ras(case.label.read())
    working = preprocess_label(label, shape_at(label, (1.5, 1.5, 2.0)))
    survives(label, working, {1, 2} if name == "phantom_ct" else {1})


def test_organs_of_a_finer_scan_survive_a_coarser_grid() -> None:
    """An ellipsoid of 72x60x64 mm, at 0.7x0.7x1 mm."""
    affine = np.diag([0.7, 0.7, 1.0, 1.0])
    where = places((120, 110, 80), affine)
    array = np.zeros(where.shape[:3], np.uint8)
    array[np.linalg.norm((where - [42, 40, 40]) / [36, 30, 32], axis=-1) < 1] = 1
    label = Volume(array, affine)
    survives(label, preprocess_label(label, shape_at(label, (1.5, 1.5, 2.0))), {1})


def shape_at(volume: Volume, spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    image = Volume(np.asarray(volume.array, np.float32), volume.affine)
    return preprocess_image(image, WORKING.model_copy(update={"spacing": spacing})).header.shape


def survives(label: Volume, working: Volume, organs: set[int]) -> None:
    """What a perfect network would say on the working grid is nearly the label in the scan."""
    names = [0, *sorted(int(name) for name in np.unique(label.array) if name)]
    sure = np.stack([working.array == name for name in names]).astype(np.float32)
    back = restore_labels(torch.from_numpy(sure), label.header.shape)
    for organ in organs:
        assert dice(back == names.index(organ), label.array == organ) > 0.98
