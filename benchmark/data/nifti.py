"""NIfTI-1 and NIfTI-2 files, through nibabel."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Header, Nifti1Image

from medssl_bench.data.volume import Header, Volume, checked_affine
from medssl_bench.errors import DataError

GZIP = b"\x1f\x8b"
"""First bytes of a gzip file (RFC 1952)."""

HEADER_BYTES = 348
"""Of NIfTI-1; the next byte tells whether extensions follow."""

SNIFFED_BYTES = 1024
"""What nibabel has to be able to read of a file before it takes it for an image."""


def read_header(path: Path) -> Header:
    """Read shape and affine; of an uncompressed file the length is checked as well."""
    _check_packing(path)
    plain = _plain_header(path)
    if plain is None:
        image = _load(path)
        shape, kind = image.shape, image.get_data_dtype()
        offset, affine = _proxy(image).offset, image.affine
    else:
        shape, kind = plain.get_data_shape(), plain.get_data_dtype()
        offset, affine = plain.get_data_offset(), plain.get_best_affine()
    _check_kind(path, kind)
    sides = _sides(path, shape)
    if path.suffix.lower() == ".nii":
        need = offset + int(np.prod(sides)) * kind.itemsize
        have = path.stat().st_size
        if have < need:
            raise DataError(f"{path}: truncated: {have} bytes of {need}; fetch it again")
    return Header(sides, checked_affine(path, affine))


def read_volume(path: Path) -> Volume:
    """Read the voxels; stored integers stay integers, scaled values become float32."""
    header = read_header(path)
    image = _load(path)
    if path.suffix.lower() == ".gz":
        # The whole file at once: it checks gzip's own checksum, and is faster than as a stream.
        image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
    stored = _proxy(image)
    if (stored.slope, stored.inter) == (1.0, 0.0):
        array = stored.get_unscaled()
    else:
        array = np.asarray(stored, dtype=np.float32)
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Volume(native.reshape(header.shape), header.affine)


def _plain_header(path: Path) -> Nifti1Header | None:
    """Return what nearly every file begins with: a NIfTI-1 header without extensions.

    `nibabel.load` opens a file twice, tries its formats and checks copies of the header: four times
    the work, where a plan reads the headers of thousands. None: it has to say what the file is, or
    what is wrong with it.
    """
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with unpack(path, "rb") as stream:
            head = stream.read(SNIFFED_BYTES)
        if head[HEADER_BYTES : HEADER_BYTES + 1] != b"\0":
            return None
        header = Nifti1Header(head[:HEADER_BYTES])
        header.get_slope_inter()
    except Exception:  # of many types; the same follows from nibabel.load
        return None
    return header


def _load(path: Path) -> Nifti1Image:
    image = nib.load(path)
    if not isinstance(image, Nifti1Image):
        raise DataError(f"{path}: not a NIfTI file ({type(image).__name__})")
    return image


def _check_packing(path: Path) -> None:
    """Refuse a file whose name says that it is compressed and that is not, or the reverse."""
    with path.open("rb") as stream:
        head = stream.read(348)
    packed = head[:2] == GZIP
    if packed and path.suffix.lower() == ".nii":
        raise DataError(f"{path}: a gzip file named .nii; rename it to .nii.gz, or unpack it")
    sizes = {size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big")}
    if not packed and path.suffix.lower() == ".gz" and head[:4] in sizes:
        raise DataError(f"{path}: not compressed, although named .nii.gz; rename it to .nii")


def _proxy(image: Nifti1Image) -> ArrayProxy:
    """Return the voxels as stored, not yet read."""
    assert isinstance(image.dataobj, ArrayProxy)
    return image.dataobj


def _check_kind(path: Path, kind: np.dtype[np.generic]) -> None:
    if kind.kind not in "iufb":
        raise DataError(f"{path}: voxels are {kind}, not single numbers")


def _sides(path: Path, stored: Sequence[int]) -> tuple[int, int, int]:
    shape = tuple(int(side) for side in stored)
    if len(shape) < 3 or any(side != 1 for side in shape[3:]) or min(shape) < 1:
        raise DataError(f"{path}: shape {shape} is not three-dimensional; split it into volumes")
    return shape[0], shape[1], shape[2]
