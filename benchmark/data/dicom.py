"""A folder with one DICOM series, through SimpleITK (GDCM)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medssl_bench.data.dicom_tags import dicom_files, may_be_image, modality_of
from medssl_bench.data.itk import LPS_TO_RAS, ras_affine, voxels
from medssl_bench.data.volume import Header, Volume, checked_affine
from medssl_bench.errors import DataError

UNEVEN = 0.1
"""Largest deviation of one gap between slices, as a share of the median gap."""

ROUNDING_MM = 0.06
"""Positions written with one decimal deviate by this much, and no slice is missing."""

SAME_PLACE_MM = 1e-4


@dataclass(frozen=True)
class Slice:
    """The geometry of one file, in DICOM's LPS millimetres."""

    file: str
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing: NDArray[np.float64]
    size: tuple[int, int]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def read_header(folder: Path, series: str | None) -> Header:
    """Read shape and affine from every file's tags, without pixels."""
    return _arrange(folder, _series_files(folder, series))[1]


def read_volume(folder: Path, series: str | None) -> Volume:
    """Read the pixels, rescaled slice by slice (RescaleSlope, RescaleIntercept), as float32."""
    files, header = _arrange(folder, _series_files(folder, series))
    if len(files) == 1:
        image = sitk.ReadImage(files[0], sitk.sitkFloat32)
    else:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        # A slice's slope may be a fraction where the first one's is whole: no integers here.
        reader.SetOutputPixelType(sitk.sitkFloat32)
        image = reader.Execute()
    return Volume(voxels(image).reshape(header.shape), header.affine)


def _series_files(folder: Path, series: str | None) -> list[str]:
    """Return the files of the one image series, or of the series asked for."""
    present = dicom_files(folder)
    if not any(may_be_image(file) for file in present):
        raise DataError(f"{folder}: no DICOM image series in this folder")
    found: dict[str, tuple[str, ...]] = {}
    shown: list[str] = []
    listed: set[Path] = set()
    for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
        listed.update(Path(file) for file in files)
        if files and may_be_image(Path(files[0])):
            found[uid] = files
            shown.append(f"{uid} ({modality_of(Path(files[0]))}, {len(files)} files)")
    # GDCM passes over a file that it cannot read: at the end of a scan nobody would miss it.
    damaged = [file for file in present if file not in listed and may_be_image(file)]
    if damaged:
        raise DataError(f"{folder}: {damaged[0].name} is truncated or damaged; fetch it again")
    if series is not None:
        if series not in found:
            raise DataError(f"{folder}: no image series {series}; there is {_listed(shown)}")
        return list(found[series])
    if len(found) > 1:
        raise DataError(f"{folder}: {len(found)} series, one expected: {_listed(shown)}")
    return list(next(iter(found.values())))


def _listed(shown: list[str]) -> str:
    return ", ".join(shown) or "none"


def _arrange(folder: Path, files: list[str]) -> tuple[list[str], Header]:
    """Sort slices along their normal and build the affine from their positions."""
    if len(files) == 1:
        return files, _single(folder, files[0])
    slices = [_slice(file) for file in files]
    first = slices[0]
    for other in slices[1:]:
        same = other.size == first.size and np.allclose(other.spacing, first.spacing, rtol=1e-3)
        if not same or not np.allclose(other.orientation, first.orientation, atol=1e-3):
            raise DataError(
                f"{folder}: {Path(other.file).name} has another size, pixel spacing or orientation"
                f" than {Path(first.file).name}; keep one acquisition per folder"
            )
    slices.sort(key=lambda one: float(one.position @ first.normal))
    slices = _without_copies(slices)
    if len(slices) == 1:
        return [slices[0].file], _single(folder, slices[0].file)
    heights = np.array([one.position @ first.normal for one in slices])
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    if gaps.min() <= SAME_PLACE_MM:
        twice = int(np.argmin(gaps))
        raise DataError(
            f"{folder}: {Path(slices[twice].file).name} and {Path(slices[twice + 1].file).name}"
            " lie on one slice position and differ; split the series"
        )
    if abs(gaps[worst] - usual) > max(UNEVEN * usual, 2 * ROUNDING_MM):
        raise DataError(
            f"{folder}: slices are {usual:.3g} mm apart but {gaps[worst]:.3g} mm between"
            f" {Path(slices[worst].file).name} and {Path(slices[worst + 1].file).name};"
            " a slice is missing"
        )
    affine = np.eye(4)
    affine[:3, 0] = slices[0].orientation[:3] * slices[0].spacing[1]
    affine[:3, 1] = slices[0].orientation[3:] * slices[0].spacing[0]
    affine[:3, 2] = (slices[-1].position - slices[0].position) / (len(slices) - 1)
    affine[:3, 3] = slices[0].position
    shape = (*slices[0].size, len(slices))
    return [one.file for one in slices], Header(shape, checked_affine(folder, LPS_TO_RAS @ affine))


def _without_copies(slices: list[Slice]) -> list[Slice]:
    """Drop slices that are in the folder twice: one place (they are sorted), the same pixels."""
    kept = slices[:1]
    for one in slices[1:]:
        same_place = np.abs(one.position - kept[-1].position).max() <= SAME_PLACE_MM
        if not same_place or not _same_pixels(kept[-1].file, one.file):
            kept.append(one)
    return kept


def _same_pixels(first: str, second: str) -> bool:
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(file)) for file in (first, second))
    return bool(np.array_equal(one, other))


def _single(folder: Path, file: str) -> Header:
    """Return the geometry of a series in one file (a multi-frame object, or a single slice)."""
    reader = _tags(file)
    if len(reader.GetSize()) != 3:
        raise DataError(f"{folder}: {Path(file).name} is not three-dimensional")
    affine = ras_affine(reader.GetDirection(), reader.GetSpacing(), reader.GetOrigin())
    x, y, z = (int(side) for side in reader.GetSize())
    return Header((x, y, z), checked_affine(folder, affine))


def _slice(file: str) -> Slice:
    reader = _tags(file)
    columns, rows = (int(side) for side in reader.GetSize()[:2])
    return Slice(
        file=file,
        position=_numbers(reader, file, "0020|0032", 3, "ImagePositionPatient"),
        orientation=_numbers(reader, file, "0020|0037", 6, "ImageOrientationPatient"),
        spacing=_numbers(reader, file, "0028|0030", 2, "PixelSpacing"),
        size=(columns, rows),
    )


def _numbers(
    reader: sitk.ImageFileReader, file: str, tag: str, count: int, name: str
) -> NDArray[np.float64]:
    text = reader.GetMetaData(tag) if reader.HasMetaDataKey(tag) else ""
    values = np.array([float(part) for part in text.split("\\") if part.strip()])
    if len(values) != count:
        raise DataError(f"{file}: no {name}; its place among the slices is unknown")
    return values


def _tags(file: str) -> sitk.ImageFileReader:
    """Read a file's tags without its pixels."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    reader.ReadImageInformation()
    return reader
