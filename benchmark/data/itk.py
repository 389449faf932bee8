"""NRRD and MetaImage files, through SimpleITK, and its geometry (LPS) as RAS affines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medssl_bench.data.volume import Header, Volume, checked_affine
from medssl_bench.errors import DataError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_header(path: Path) -> Header:
    """Read shape and affine."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DataError(f"{path}: its header cannot be read; fetch it again") from error
    lost = [file for file in data_files(path) if not file.is_file()]
    if lost:
        raise DataError(f"{path}: the file with its voxels, {lost[0].name}, is missing")
    size = tuple(int(side) for side in reader.GetSize())
    if len(size) != 3 or min(size) < 1:
        raise DataError(f"{path}: shape {size} is not three-dimensional; split it into volumes")
    if reader.GetNumberOfComponents() != 1:
        raise DataError(f"{path}: {reader.GetNumberOfComponents()} numbers per voxel; one expected")
    affine = ras_affine(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())
    return Header((size[0], size[1], size[2]), checked_affine(path, affine))


def read_volume(path: Path) -> Volume:
    """Read the voxels as stored (float64 becomes float32)."""
    header = read_header(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        # ITK's own words are pages long and speak of missing files where one is too short.
        raise DataError(f"{path}: its voxels are truncated or damaged; fetch it again") from error
    return Volume(voxels(image), header.affine)


def ras_affine(
    direction: tuple[float, ...], spacing: tuple[float, ...], origin: tuple[float, ...]
) -> NDArray[np.float64]:
    """Build the index-to-RAS affine of ITK's direction cosines, spacing (mm) and origin (mm)."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing)
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def voxels(image: sitk.Image) -> NDArray[np.generic]:
    """Return an image's voxels as ``(X, Y, Z)``; ITK's own array order is ``(Z, Y, X)``."""
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def data_files(path: Path) -> list[Path]:
    """Return the files with the voxels where ``path`` is a detached header (``.mhd``)."""
    if path.suffix.lower() != ".mhd":
        return []
    lines = path.read_text(encoding="latin-1").splitlines()
    for number, line in enumerate(lines):
        name, _, value = (part.strip() for part in line.partition("="))
        if name != "ElementDataFile" or value == "LOCAL":
            continue
        if value == "LIST":
            return [path.parent / entry.strip() for entry in lines[number + 1 :] if entry.strip()]
        if "%" in value:
            raise DataError(f"{path}: slices by pattern ({value}) are not read; convert to .mha")
        return [path.parent / value]
    return []
