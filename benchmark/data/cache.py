"""Preprocess a case once, keep it as compressed chunked arrays, find it again by content."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.prepared import (
    FOREGROUND,
    IMAGE,
    LABEL,
    META,
    NATIVE_LABEL,
    DamagedEntry,
    Prepared,
    read_meta,
    sha256_of,
    threads,
)
from medssl_bench.data.volume import Header, Source, Volume
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

ABANDONED_S = 6 * 3600.0
"""Age at which a temporary folder belongs to a process that was killed."""


@dataclass(frozen=True)
class VolumeCache:
    """Prepared cases below ``root``, which several processes and nodes may share.

    An entry is written to a temporary folder and renamed, so it is there as a whole or not at all;
    of two processes that build the same one, the first wins and the other uses it.
    """

    root: Path

    def prepare(
        self,
        case: Case,
        preprocessing: Preprocessing,
        *,
        channels: Sequence[str],
        remap: Mapping[int, int] | None = None,
        classes: Mapping[int, str] | None = None,
        verify: bool = False,
    ) -> Prepared:
        """Return the case's entry; build it where there is none, or where it is damaged.

        Args:
            case: Where the volumes come from.
            preprocessing: Spacing and intensity rule.
            channels: Which of the case's images, in the order of the array.
            remap: Raw label ids that mean another id.
            classes: Foreground ids after ``remap``; None admits any.
            verify: Digest every byte of an existing entry (sizes and times are always checked).

        Raises:
            DataError: A source cannot be read, holds NaN, unknown label ids or another shape than
                its fellows; or the cache cannot be written. The message names the file.
        """
        recipe = _Recipe(
            case,
            preprocessing,
            tuple(channels),
            dict(remap or {}),
            classes and tuple(sorted(classes)),
        )
        key = recipe.key()
        folder = self.root / key[:2] / key
        try:
            meta = read_meta(folder, verify=verify)
        except DamagedEntry as damage:
            if folder.exists():
                warnings.warn(f"{folder}: damaged cache entry, built anew ({damage})", stacklevel=2)
            meta = self._build(recipe, key, folder)
        rebuild = partial(self._rebuild, recipe, key, folder)
        return Prepared(folder, case.id, case.group, meta, rebuild)

    def _rebuild(self, recipe: _Recipe, key: str, folder: Path) -> None:
        """Build an entry anew whose files look whole but cannot be decompressed."""
        warnings.warn(f"{folder}: damaged cache entry, built anew", stacklevel=3)
        self._build(recipe, key, folder, replace=True)

    def _build(
        self, recipe: _Recipe, key: str, folder: Path, *, replace: bool = False
    ) -> dict[str, Any]:
        temporary = folder.with_name(f".building-{key[:16]}-{uuid.uuid4().hex}")
        try:
            _sweep(folder.parent)
            temporary.mkdir(parents=True)
            meta = recipe.write(temporary, key)
            return _move_into_place(temporary, folder, meta, replace=replace)
        except (OSError, RuntimeError) as error:
            free = _free_bytes(self.root)
            raise DataError(
                f"{self.root}: cannot write the cache entry of {recipe.case.id}: {error}"
                f" ({free / 1e9:.1f} GB free); give another folder or make room"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def disk_estimate(
    headers: Iterable[Header], preprocessing: Preprocessing, *, labelled: bool = False
) -> int:
    """Return an upper bound in bytes of what these images will take in the cache.

    Two bytes for every working voxel, as if nothing could be compressed (scans shrink to between a
    third and two thirds of that). Labels shrink to a few per cent: a tenth is reckoned with.

    Args:
        headers: One for every channel of every case.
        preprocessing: Whose spacing gives the working grid.
        labelled: Whether each header comes with a label.
    """
    from medssl_bench.data.grid import working_shape
    from medssl_bench.data.orientation import ras_header

    total = 0.0
    for header in headers:
        native = ras_header(header)
        working = int(np.prod(working_shape(native, preprocessing.spacing)))
        total += 2.0 * working + (0.1 * (working + np.prod(native.shape)) if labelled else 0.0)
        total += 64 * 1024
    return int(total)


@dataclass(frozen=True)
class _Recipe:
    """Everything that decides an entry's content."""

    case: Case
    preprocessing: Preprocessing
    channels: tuple[str, ...]
    remap: dict[int, int]
    classes: tuple[int, ...] | None

    def key(self) -> str:
        missing = [name for name in self.channels if name not in self.case.images]
        if missing or not self.channels:
            raise DataError(
                f"{self.case.id}: no channel {', '.join(missing) or '(none asked for)'};"
                f" it has {', '.join(self.case.images)}"
            )
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

        first = self.case.images[self.channels[0]]
        original: Volume | None = None
        working: Volume | None = None
        stored = None
        for index, name in enumerate(self.channels):
            source = self.case.images[name]
            volume = source.read()
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
        from medssl_bench.data.labels import class_ids
        from medssl_bench.data.orientation import to_ras
        from medssl_bench.data.preprocess import preprocess_label

        source = self.case.label
        assert source is not None
        volume = source.read()
        _check_fits(self.case.images[self.channels[0]], original, source, volume)
        with _named(source):
            ids = class_ids(volume.array, self.remap, self.classes)
        native = to_ras(Volume(ids, original.affine))
        working = preprocess_label(native, shape).array
        for name, array in ((NATIVE_LABEL, native.array), (LABEL, working)):
            _create(folder / name, array.shape, array.dtype)[...] = np.ascontiguousarray(array)
        return _foreground_rows(np.ascontiguousarray(working), key)


def _foreground_rows(label: NDArray[np.uint8], key: str) -> NDArray[np.int32]:
    """Return ``(N, 4)``: class and voxel, at most ``SAMPLES`` per class, drawn by the key."""
    flat = label.reshape(-1)
    rows = [np.empty((0, 4), dtype=np.int32)]
    for name in np.flatnonzero(np.bincount(flat, minlength=1))[0:]:
        if name == 0:
            continue
        places = np.flatnonzero(flat == name)
        if len(places) > SAMPLES:
            rng = np.random.default_rng(seed_from(key, "foreground", int(name)))
            places = np.sort(rng.choice(places, SAMPLES, replace=False))
        voxels = np.stack(np.unravel_index(places, label.shape), axis=1)
        rows.append(np.column_stack([np.full(len(voxels), name), voxels]).astype(np.int32))
    return np.concatenate(rows)


def _check_fits(first: Source, reference: Volume, source: Source, volume: Volume) -> None:
    """Refuse another shape; warn of another affine (the first image's is the one used)."""
    if volume.array.shape != reference.array.shape:
        raise DataError(
            f"{source}: shape {volume.array.shape} differs from {reference.array.shape} of {first};"
            " images and label of a case share one grid"
        )
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(volume.array.shape) - 1)
    shift = corners @ (volume.affine - reference.affine)[:3, :3].T
    shift = np.abs(shift + (volume.affine - reference.affine)[:3, 3]).max()
    if shift > 0.1 * min(reference.header.spacing):
        warnings.warn(
            f"{source}: its affine differs from that of {first} by up to {shift:.3g} mm;"
            " the image's is used",
            stacklevel=2,
        )


class _named:
    """Put a source's name before a fault found in its voxels."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DataError):
            raise DataError(f"{self.source}: {error}") from error


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
    return blosc2.empty(
        shape, dtype, chunks=chunks, blocks=blocks, urlpath=str(path), mode="w", cparams=compression
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


def _move_into_place(
    temporary: Path, folder: Path, meta: dict[str, Any], *, replace: bool
) -> dict[str, Any]:
    """Rename the new entry to its place; use the one found there if it is whole."""
    while True:
        try:
            temporary.rename(folder)
            return meta
        except OSError:
            if not folder.exists():
                raise
        if not replace:
            try:
                return read_meta(folder)
            except DamagedEntry:
                pass
        replace = False
        aside = folder.with_name(f".damaged-{uuid.uuid4().hex}")
        try:
            folder.rename(aside)
        except FileNotFoundError:
            continue
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove temporary folders of processes killed long ago."""
    for left in [*parent.glob(".building-*"), *parent.glob(".damaged-*")]:
        try:
            old = time.time() - left.stat().st_mtime > ABANDONED_S
        except FileNotFoundError:
            continue
        if old:
            shutil.rmtree(left, ignore_errors=True)


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
