"""Label maps as files: compressed NIfTI whose bytes depend on labels and grid alone."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.orientation import from_ras
from medssl_bench.record import folder_name

if TYPE_CHECKING:
    from medssl_bench.data.prepared import Prepared

FOLDER = "predictions"
"""Where a record's folder holds what the cell predicted."""

LONGEST = 100
"""Characters of a case's id in the name of its file."""


def file_name(case: str, ending: str = ".nii.gz") -> str:
    """Name a case's file; safe on every file system and in a shell, another for every id.

    An id that is no such name itself is shortened to what may stay, and a digest of it follows a
    ``~``, which stands in no other name.
    """
    safe = folder_name(case)[:LONGEST]
    if safe != case:
        safe += "~" + hashlib.sha256(case.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return safe + ending


def encode(
    array: NDArray[Any],
    affine: NDArray[np.float64],
    slope: float = 1.0,
    offset: float = 0.0,
) -> bytes:
    """Return an array ``(X, Y, Z)`` as the bytes of a compressed NIfTI.

    Args:
        array: Of the type that is stored.
        affine: Voxel index to RAS+ mm; both of NIfTI's transforms are set where it has no shear.
        slope: What a stored value is multiplied by to give the one meant.
        offset: What is added then.
    """
    import nibabel as nib

    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    rotation = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4):
        image.set_qform(affine, code="scanner")
    image.header.set_slope_inter(slope, offset)
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def prediction(native: NDArray[np.uint8], case: Prepared) -> bytes:
    """Encode labels ``(X, Y, Z)`` in RAS on the grid of the case's scan, in its axis order."""
    stored = np.ascontiguousarray(from_ras(native, case.original_affine))
    return encode(stored, case.original_affine)
