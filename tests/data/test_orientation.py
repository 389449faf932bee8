import itertools

import nibabel as nib
import numpy as np
import pytest

from medssl_bench.data.orientation import contiguous, from_ras, ras_header, to_ras
from medssl_bench.data.volume import Volume

AXES = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]


def affine_of(codes: str, oblique: bool) -> np.ndarray:
    """Affine of a 9x8x7 grid (by R, A, S axis) stored along ``codes``, 1.5 x 2 x 3 mm by axis."""
    rng = np.random.default_rng(3)
    affine = np.eye(4)
    for column, letter in enumerate(codes):
        axis = next(k for k, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        sign = 1 if letter in "RAS" else -1
        affine[:3, column] = 0
        affine[axis, column] = sign * (1.5, 2.0, 3.0)[axis]
    if oblique:
        turn, _ = np.linalg.qr(np.eye(3) + 0.12 * rng.standard_normal((3, 3)))
        affine[:3, :3] = turn * np.sign(np.diag(turn)) @ affine[:3, :3]
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return affine


def shape_of(codes: str) -> tuple[int, ...]:
    return tuple({"R": 9, "L": 9, "A": 8, "P": 8, "S": 7, "I": 7}[letter] for letter in codes)


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("codes", AXES)
def test_every_voxel_keeps_its_place(codes, oblique):
    affine = affine_of(codes, oblique)
    assert "".join(nib.aff2axcodes(affine)) == codes
    shape = shape_of(codes)
    array = np.arange(np.prod(shape)).reshape(shape)
    turned = to_ras(Volume(array, affine))
    assert nib.aff2axcodes(turned.affine) == ("R", "A", "S")
    assert turned.array.shape == (9, 8, 7)
    for index in [(0, 0, 0), (1, 2, 3), (4, 5, 6)]:
        place = affine @ [*index, 1]
        there = np.linalg.solve(turned.affine, place)[:3]
        np.testing.assert_allclose(there, np.rint(there), atol=1e-6)
        assert turned.array[tuple(np.rint(there).astype(int))] == array[index]
    np.testing.assert_array_equal(from_ras(turned.array, affine), array)


@pytest.mark.parametrize("codes", AXES)
def test_matches_nibabels_closest_canonical(codes):
    affine = affine_of(codes, oblique=True)
    array = np.arange(504, dtype=np.int16).reshape(shape_of(codes))
    expected = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    turned = to_ras(Volume(array, affine))
    np.testing.assert_array_equal(turned.array, np.asarray(expected.dataobj))
    np.testing.assert_allclose(turned.affine, expected.affine)
    header = ras_header(Volume(array, affine).header)
    assert header.shape == expected.shape
    np.testing.assert_allclose(header.affine, expected.affine)


def test_kits_affine_is_stored_slices_first():
    affine = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1.0]])
    assert "".join(nib.aff2axcodes(affine)) == "IPL"
    turned = to_ras(Volume(np.zeros((5, 8, 9)), affine))
    assert turned.array.shape == (9, 8, 5)
    np.testing.assert_allclose(turned.header.spacing, (0.8, 0.8, 3.0))


@pytest.mark.parametrize("codes", AXES)
def test_contiguous_is_numpys_own_copy_of_any_view(codes):
    stored = np.random.default_rng(0).normal(0, 900, (19, 18, 17)).astype(np.int16, order="F")
    view = to_ras(Volume(stored, affine_of(codes, oblique=False))).array
    copied = contiguous(view, np.float32)
    np.testing.assert_array_equal(copied, np.array(view, np.float32, order="C"))
    assert copied.flags.c_contiguous and copied.dtype == np.float32
    assert not np.shares_memory(contiguous(stored, np.int16), stored)
