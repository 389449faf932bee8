"""One entry of the cache, opened: a case's arrays on the working grid, read chunk by chunk.

This module imports neither torch nor any reader of medical files: a process that reads crops
stays small.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from medssl_bench.errors import DataError

META = "meta.json"
FOREGROUND = "foreground.npy"
IMAGE = "image.b2nd"
LABEL = "label.b2nd"
NATIVE_LABEL = "native_label.b2nd"

Shape = tuple[int, int, int]


class DamagedEntry(Exception):
    """An entry of the cache is not what was written: half-written, truncated or altered."""


@dataclass
class Prepared:
    """A case in the cache. Axes are R, A, S throughout; ``native`` is the grid before resampling.

    ``rebuild`` builds the entry anew; it is called once when a chunk turns out to be damaged.
    """

    folder: Path
    id: str
    patient: str
    meta: dict[str, Any] = field(repr=False)
    rebuild: Callable[[], None] | None = field(default=None, repr=False)

    @property
    def digest(self) -> str:
        """Content key: of the sources, the preprocessing and the code's version."""
        return str(self.meta["key"])

    @property
    def shape(self) -> Shape:
        """Working grid ``(X, Y, Z)``."""
        x, y, z = self.meta["shape"]
        return x, y, z

    @property
    def native_shape(self) -> Shape:
        """Grid before resampling ``(X, Y, Z)``."""
        x, y, z = self.meta["native_shape"]
        return x, y, z

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """Working index to RAS+ mm."""
        return np.array(self.meta["affine"])

    @cached_property
    def native_affine(self) -> NDArray[np.float64]:
        """Native index (RAS order) to RAS+ mm."""
        return np.array(self.meta["native_affine"])

    @cached_property
    def original_affine(self) -> NDArray[np.float64]:
        """Affine of the file as stored; ``orientation.from_ras`` turns arrays back to it."""
        return np.array(self.meta["original_affine"])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Working voxel size in mm."""
        return _sides(self.affine)

    @property
    def native_spacing(self) -> tuple[float, float, float]:
        """Native voxel size in mm."""
        return _sides(self.native_affine)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the image's channels, in order."""
        return tuple(self.meta["channels"])

    @property
    def labelled(self) -> bool:
        """Whether the case has a label."""
        return LABEL in self.meta["files"]

    @cached_property
    def foreground(self) -> dict[int, NDArray[np.int32]]:
        """Working voxels ``(N, 3)`` of each class present, at most 2000 each, evenly drawn."""
        rows = np.load(self.folder / FOREGROUND, allow_pickle=False)
        return {int(name): rows[rows[:, 0] == name, 1:] for name in np.unique(rows[:, 0])}

    def image(self) -> NDArray[np.float16]:
        """Return the image ``(C, X, Y, Z)`` in [0, 1]."""
        return self._read(IMAGE, (slice(None),) * 4)

    def label(self) -> NDArray[np.uint8]:
        """Return the label on the working grid ``(X, Y, Z)``."""
        return self._read(LABEL, (slice(None),) * 3)

    def native_label(self) -> NDArray[np.uint8]:
        """Return the label before resampling ``(X, Y, Z)``, in RAS."""
        return self._read(NATIVE_LABEL, (slice(None),) * 3)

    def image_crop(
        self, start: Shape, size: Shape, channel: int | None = None
    ) -> NDArray[np.float16]:
        """Read ``(C, *size)`` from ``start``, zero outside the volume; only its chunks are read.

        With ``channel``, that one alone: ``(1, *size)``.
        """
        which = slice(None) if channel is None else slice(channel, channel + 1)
        return self._crop(IMAGE, start, size, (which,))

    def label_crop(self, start: Shape, size: Shape) -> NDArray[np.uint8]:
        """Read the label ``(*size,)`` from ``start``, zero outside the volume."""
        return self._crop(LABEL, start, size, ())

    def _crop(self, name: str, start: Shape, size: Shape, lead: tuple[slice, ...]) -> NDArray[Any]:
        stop = [at + extent for at, extent in zip(start, size, strict=True)]
        inner = [
            slice(min(max(at, 0), side), max(min(end, side), 0))
            for at, end, side in zip(start, stop, self.shape, strict=True)
        ]
        inside = self._read(name, (*lead, *inner))
        if inside.shape[-3:] == tuple(size):
            return inside
        padded = np.zeros((*inside.shape[: len(lead)], *size), dtype=inside.dtype)
        place = [
            slice(max(-at, 0), max(-at, 0) + n)
            for at, n in zip(start, inside.shape[-3:], strict=True)
        ]
        if inside.size:
            padded[(*lead, *place)] = inside
        return padded

    def _read(self, name: str, where: tuple[slice, ...]) -> NDArray[Any]:
        if name not in self.meta["files"]:
            raise DataError(f"{self.id}: the case has no label")
        try:
            return self._arrays.open(self.folder / name)[where]
        except (RuntimeError, OSError, ValueError) as error:
            if self.rebuild is None:
                raise DataError(
                    f"{self.folder / name}: damaged cache entry ({error}); remove the folder"
                ) from error
            self._arrays.close()
            self.rebuild()
            return self._arrays.open(self.folder / name)[where]

    @cached_property
    def _arrays(self) -> _Arrays:
        return _Arrays()


class _Arrays:
    """Opened arrays by path; left behind when a Prepared travels to another process."""

    def __init__(self) -> None:
        self._open: dict[Path, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_open": {}}

    def open(self, path: Path) -> Any:
        if path not in self._open:
            decompression = blosc2.DParams(nthreads=threads())
            self._open[path] = blosc2.open(str(path), mode="r", dparams=decompression)
        return self._open[path]

    def close(self) -> None:
        self._open.clear()


def threads() -> int:
    """Threads of one compression or decompression (``BLOSC_NTHREADS``, 1 where not set)."""
    return int(os.environ.get("BLOSC_NTHREADS", "1"))


def read_meta(folder: Path, *, verify: bool = False) -> dict[str, Any]:
    """Read an entry's description and check its files against it.

    Sizes are always compared. Bytes are digested with ``verify``, and where a file's time of
    change is not the one recorded: whoever altered it since, left that trace.

    Raises:
        DamagedEntry: A file is missing, truncated or altered; the reason is in the message.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text())
        files = dict(meta["files"])
        for name, written in files.items():
            status = (folder / name).stat()
            if status.st_size != written["bytes"]:
                raise DamagedEntry(f"{name}: {status.st_size} bytes of {written['bytes']}")
            doubtful = verify or status.st_mtime_ns != written["mtime_ns"]
            if doubtful and sha256_of(folder / name) != written["sha256"]:
                raise DamagedEntry(f"{name}: its bytes have changed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedEntry(f"{type(error).__name__}: {error}") from error
    return meta


def sha256_of(path: Path) -> str:
    """Digest a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sides(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)
