"""Volumes with their geometry, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medssl_bench.errors import DataError


@dataclass(frozen=True)
class Header:
    """What is known of a volume without its voxels."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    """4x4, voxel index to RAS+ millimetres."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along the array's own axes."""
        sides = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(sides[0]), float(sides[1]), float(sides[2]))


@dataclass(frozen=True)
class Volume:
    """Voxels ``(X, Y, Z)`` in storage order with their affine (index to RAS+ mm)."""

    array: NDArray[np.generic]
    affine: NDArray[np.float64]

    @property
    def header(self) -> Header:
        """The geometry alone."""
        x, y, z = self.array.shape
        return Header((x, y, z), self.affine)


class Source(Protocol):
    """Anything that yields one volume: a file, a DICOM series, a phantom's recipe."""

    def header(self) -> Header:
        """Read the geometry without the voxels; raises DataError that names the source."""

    def read(self) -> Volume:
        """Read the voxels; raises DataError that names the source."""

    def digest(self) -> str:
        """Digest of the content (a file's bytes, a phantom's recipe and version)."""


def checked_affine(name: object, affine: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the affine as float64 if it places voxels in space; else DataError naming ``name``."""
    result = np.asarray(affine, dtype=np.float64)
    sides = np.linalg.norm(result[:3, :3], axis=0)
    flat = np.isfinite(result).all() and abs(np.linalg.det(result[:3, :3])) < 1e-6 * sides.prod()
    if not np.isfinite(result).all() or sides.min() == 0 or flat:
        raise DataError(f"{name}: the header's affine places no voxels in space: {result.tolist()}")
    return result
