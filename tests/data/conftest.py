"""Small scans written to disk in every format, given to tests as functions (fixtures below)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

OBLIQUE = np.array(
    [
        [1.9, 0.21, -0.30, -40.0],
        [-0.18, 0.98, 0.40, 15.0],
        [0.24, -0.12, 2.9, 70.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def write_nifti(path: Path, array: NDArray, affine: NDArray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def oblique_image(array: NDArray) -> tuple[sitk.Image, NDArray]:
    """Return an oblique image of ``(X, Y, Z)`` voxels and the RAS affine it must have."""
    angle = 0.3
    direction = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]]
    )
    spacing, origin = (0.8, 1.1, 2.5), (-31.0, 12.5, 7.0)
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    # Column by column from ITK itself: its point for a voxel, x and y negated from LPS to RAS.
    affine = np.eye(4)
    zero = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    for axis in range(3):
        index = [0, 0, 0]
        index[axis] = 1
        affine[:3, axis] = np.array(image.TransformIndexToPhysicalPoint(index)) - zero
    affine[:3, 3] = zero
    return image, np.diag([-1, -1, 1, 1.0]) @ affine


def write_dicom(
    folder: Path,
    array: NDArray[np.int16],
    *,
    uid: str = "1.2.826.0.1.3680043.2.1125.1",
    modality: str = "CT",
    slope: float = 1.0,
    intercept: float = 0.0,
    skip: tuple[int, ...] = (),
) -> NDArray:
    """Write a series, slices named in shuffled order; return the RAS affine it must have."""
    folder.mkdir(parents=True, exist_ok=True)
    image, affine = oblique_image(array)
    direction = np.reshape(image.GetDirection(), (3, 3))
    orientation = "\\".join(f"{value:.9f}" for value in [*direction[:, 0], *direction[:, 1]])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(array.shape[2]):
        if z in skip:
            continue
        one = image[:, :, z : z + 1]
        place = image.TransformIndexToPhysicalPoint((0, 0, z))
        tags = {
            "0008|0060": modality,
            "0008|0018": f"{uid}.{z + 1}",
            "0020|000e": uid,
            "0020|000d": f"{uid}.9999",
            "0020|0013": str(z),
            "0020|0032": "\\".join(f"{value:.6f}" for value in place),
            "0020|0037": orientation,
            "0028|1052": str(intercept),
            "0028|1053": str(slope),
        }
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid[-1]}_{(z * 7) % 97:02d}.dcm"))
        writer.Execute(one)
    return affine


@pytest.fixture
def oblique() -> NDArray:
    return OBLIQUE.copy()


@pytest.fixture
def save_nifti() -> Callable[..., Path]:
    return write_nifti


@pytest.fixture
def sitk_image() -> Callable[[NDArray], tuple[sitk.Image, NDArray]]:
    return oblique_image


@pytest.fixture
def save_dicom() -> Callable[..., NDArray]:
    return write_dicom
