"""Build one entry of the cache: read a case, check it, preprocess it, write its arrays."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import blosc2
import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.labels import class_ids, ids_present
from medssl_bench.data.prepared import (
    FOREGROUND,
    IMAGE,
    LABEL,
    META,
    NATIVE_LABEL,
    sha256_of,
    threads,
)
from medssl_bench.data.regrid import corner_distance, on_grid, ruling_source
from medssl_bench.data.volume import Source, Volume
from medssl_bench.digest import digest, seed_from
from medssl_bench.errors import DataError
from medssl_bench.task import Case, Preprocessing

VERSION = 1
"""Raised whenever the same sources and settings would give other arrays or files."""

CHUNK, BLOCK = 64, 32
"""Voxels along each side of what is read and of what is decompressed at a time: a 96^3 crop of a
512x512x300 scan takes 2 ms; chunks of 32 to 128 differ by less than a third."""

SAMPLES = 2000
"""Foreground voxels recorded per class."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an entry's content; fields as in ``VolumeCache.prepare``."""

    case: Case
    preprocessing: Preprocessing
    channels: tuple[str, ...]
    remap: dict[int, int]
    classes: tuple[int, ...] | None

    def key(self) -> str:
        """Digest the sources, the settings and the code's version."""
        missing = [name for name in self.channels if name not in self.case.images]
        if missing or not self.channels:
            raise DataError(
                f"{self.case.id}: no channel {', '.join(missing) or '(none asked for)'};"
                f" it has {', '.join(self.case.images)}"
            )
        ruling_source(self.case, self.preprocessing, self.channels)
        label = self.case.label
        return digest(
            {
                "version": VERSION,
                "layout": [CHUNK, BLOCK, SAMPLES],
                "images": [[name, self.case.images[name].digest()] for name in self.channels],
                "label": label.digest() if label else None,
                "preprocessing": self.preprocessing.model_dump(mode="json"),
                "remap": sorted(self.remap.items()) if label else None,
                "classes": self.classes if label else None,
            }
        )

    def write(self, folder: Path, key: str) -> dict[str, Any]:
        """Read, check, preprocess and write; one channel is held in memory at a time."""
        from medssl_bench.data.orientation import to_ras
        from medssl_bench.data.preprocess import preprocess_image

        first = ruling_source(self.case, self.preprocessing, self.channels)
        original: Volume | None = None
        working: Volume | None = None
        stored = None
        for index, name in enumerate(self.channels):
            source = self.case.images[name]
            volume = on_grid(source.read(), self.case, name, self.preprocessing)
            if original is None:
                original = Volume(np.empty(volume.array.shape, np.bool_), volume.affine)
            _check_fits(first, original, source, volume)
            with _named(source):
                working = preprocess_image(
                    to_ras(Volume(volume.array, original.affine)), self.preprocessing
                )
            del volume
            if stored is None:
                shape = (len(self.channels), *working.array.shape)
                stored = _create(folder / IMAGE, shape, np.dtype(np.float16))
            with _disk_faults():
                stored[index] = working.array.astype(np.float16)
        assert original is not None and working is not None
        native = to_ras(original)
        rows = np.empty((0, 4), dtype=np.int32)
        if self.case.label is not None:
            rows = self._write_label(folder, key, original, working.header.shape)
        np.save(folder / FOREGROUND, rows, allow_pickle=False)
        meta = {
            "key": key,
            "version": VERSION,
            "case": self.case.id,
            "patient": self.case.group,
            "channels": list(self.channels),
            "preprocessing": self.preprocessing.model_dump(mode="json"),
            "shape": list(working.array.shape),
            "affine": working.affine.tolist(),
            "native_shape": list(native.array.shape),
            "native_affine": native.affine.tolist(),
            "original_affine": original.affine.tolist(),
            "files": _inventory(folder),
        }
        _write_synced(folder / META, json.dumps(meta, indent=1))
        return meta

    def _write_label(
        self, folder: Path, key: str, original: Volume, shape: tuple[int, int, int]
    ) -> NDArray[np.int32]:
        from medssl_bench.data.orientation import contiguous, to_ras
        from medssl_bench.data.preprocess import preprocess_label

        source = self.case.label
        assert source is not None
        volume = source.read()
        first = ruling_source(self.case, self.preprocessing, self.channels)
        _check_fits(first, original, source, volume)
        with _named(source):
            ids = class_ids(volume.array, self.remap, self.classes)
        turned = to_ras(Volume(ids, original.affine))
        native = Volume(contiguous(turned.array, np.uint8), turned.affine)
        working = cast(NDArray[np.uint8], preprocess_label(native, shape).array)
        for name, array in ((NATIVE_LABEL, native.array), (LABEL, working)):
            target = _create(folder / name, array.shape, array.dtype)
            with _disk_faults():
                target[...] = array
        return _foreground_rows(working, key)


def _foreground_rows(label: NDArray[np.uint8], key: str) -> NDArray[np.int32]:
    """Return ``(N, 4)``: class and voxel, at most ``SAMPLES`` per class, drawn by the key."""
    flat = label.reshape(-1)
    rows = [np.empty((0, 4), dtype=np.int32)]
    for name in ids_present(label):
        if name == 0:
            continue
        places = np.flatnonzero(flat == name)
        if len(places) > SAMPLES:
            rng = np.random.default_rng(seed_from(key, "foreground", name))
            places = np.sort(rng.choice(places, SAMPLES, replace=False))
        voxels = np.stack(np.unravel_index(places, label.shape), axis=1)
        rows.append(np.column_stack([np.full(len(voxels), name), voxels]).astype(np.int32))
    return np.concatenate(rows)


def _check_fits(first: Source, reference: Volume, source: Source, volume: Volume) -> None:
    """Refuse another shape; warn of another affine (the first image's is the one used)."""
    if volume.array.shape != reference.array.shape:
        raise DataError(
            f"{source}: shape {volume.array.shape} differs from {reference.array.shape} of {first};"
            " images and label of a case share one grid (`grid` in docs/add-a-task.md)"
        )
    shift = corner_distance(volume.header, reference.header)
    if shift > 0.1 * min(reference.header.spacing):
        warnings.warn(
            f"{source}: its affine differs from that of {first} by up to {shift:.3g} mm;"
            " the image's is used",
            stacklevel=2,
        )


@contextmanager
def _named(source: Source) -> Iterator[None]:
    """Put a source's name before a fault found in its voxels."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


@contextmanager
def _disk_faults() -> Iterator[None]:
    """Let a write that failed inside blosc2 look like any other failed write."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _create(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> blosc2.NDArray:
    """Create an empty array on disk, in chunks of one channel."""
    lead = (1,) * (len(shape) - 3)
    chunks = (*lead, *(min(CHUNK, side) for side in shape[-3:]))
    blocks = (*lead, *(min(BLOCK, side) for side in shape[-3:]))
    compression = blosc2.CParams(
        codec=blosc2.Codec.LZ4,
        clevel=5,
        filters=[blosc2.Filter.BITSHUFFLE],
        nthreads=threads(),
    )
    with _disk_faults():
        return blosc2.empty(
            shape,
            dtype,
            chunks=chunks,
            blocks=blocks,
            urlpath=str(path),
            mode="w",
            cparams=compression,
        )


def _inventory(folder: Path) -> dict[str, dict[str, Any]]:
    """Flush every file and record its size, digest and time of change."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
        status = path.stat()
        files[path.name] = {
            "bytes": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sha256": sha256_of(path),
        }
    return files


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
