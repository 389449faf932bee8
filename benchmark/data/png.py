"""A stack of 16-bit PNG slices as one volume, as DeepLesion has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.digest_index import INDEX
from medssl_bench.data.reading import faults_of
from medssl_bench.data.volume import Header, Volume
from medssl_bench.digest import digest
from medssl_bench.errors import DataError


@dataclass(frozen=True)
class PngStack:
    """Slices ``first`` to ``last`` of a folder, as ``(row, column, slice)``.

    ``affine`` (rows of a 4x4 matrix) takes that index to RAS+ mm; ``offset`` is added to a pixel.
    """

    path: Path
    first: int
    last: int
    affine: tuple[tuple[float, ...], ...]
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.path} ({self.first:03d}-{self.last:03d})"

    def _files(self) -> list[Path]:
        files = [self.path / f"{number:03d}.png" for number in range(self.first, self.last + 1)]
        for file in files:
            with faults_of(self.path):
                there = file.is_file()
            if not there:
                raise DataError(f"{self}: slice {file.name} is missing; unpack it completely")
        return files

    def header(self) -> Header:
        """Read the size of the first slice; raises DataError where a slice is missing."""
        from PIL import Image

        first, *others = self._files()
        with faults_of(first), Image.open(first) as image:
            columns, rows = image.size
        return Header((rows, columns, 1 + len(others)), np.array(self.affine))

    def read(self) -> Volume:
        """Read all slices as int32; raises DataError that names the slice at fault."""
        from PIL import Image

        slices: list[NDArray[np.int32]] = []
        for file in self._files():
            with faults_of(file), Image.open(file) as image:
                slices.append(np.asarray(image, dtype=np.int32))
            if slices[-1].shape != slices[0].shape:
                raise DataError(
                    f"{file}: its size {slices[-1].shape} differs from {slices[0].shape} of the"
                    " slices before it"
                )
        return Volume(np.stack(slices, axis=2) + self.offset, np.array(self.affine))

    def digest(self) -> str:
        """Digest the slices' bytes in their order, and where they lie."""
        return digest([[INDEX.digest(file) for file in self._files()], self.affine, self.offset])
