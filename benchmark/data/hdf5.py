"""A volume in an HDF5 file, as some authors hand on what they preprocessed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssl_bench.data.digest_index import INDEX
from medssl_bench.data.reading import faults_of
from medssl_bench.data.volume import Header, Volume
from medssl_bench.digest import digest
from medssl_bench.errors import DataError


@dataclass(frozen=True)
class Hdf5Source:
    """The dataset ``key`` of a file: ``(X, Y, Z)`` voxels, whose place in space it does not say."""

    path: Path
    key: str
    affine: tuple[tuple[float, ...], ...]
    """Rows of the 4x4 matrix to RAS+ mm that the file's authors state."""

    def __str__(self) -> str:
        return f"{self.path} ({self.key})"

    def header(self) -> Header:
        """Read the shape; raises DataError."""
        import h5py

        with faults_of(self.path), h5py.File(self.path) as file:
            x, y, z = self._dataset(file).shape
            return Header((x, y, z), np.array(self.affine))

    def read(self) -> Volume:
        """Read the voxels; raises DataError."""
        import h5py

        with faults_of(self.path), h5py.File(self.path) as file:
            return Volume(np.asarray(self._dataset(file)[()]), np.array(self.affine))

    def digest(self) -> str:
        """SHA-256 of the file's bytes and the dataset's name."""
        with faults_of(self.path):
            return digest([INDEX.digest(self.path), self.key])

    def _dataset(self, file: Any) -> Any:
        if self.key not in file:
            raise DataError(f"{self.path}: it has no dataset {self.key!r}, but {', '.join(file)}")
        if len(file[self.key].shape) != 3:
            raise DataError(f"{self}: shape {file[self.key].shape} is not three-dimensional")
        return file[self.key]
