"""Preprocess a case once, keep it as compressed chunked arrays, find it again by content."""

from __future__ import annotations

import errno
import shutil
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medssl_bench.data.entry import Recipe
from medssl_bench.data.prepared import DamagedEntry, Prepared, read_meta
from medssl_bench.data.volume import Header
from medssl_bench.errors import DataError
from medssl_bench.task import Case, Preprocessing

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
        recipe = _recipe(case, preprocessing, channels, remap, classes)
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

    def holds(
        self,
        case: Case,
        preprocessing: Preprocessing,
        *,
        channels: Sequence[str],
        remap: Mapping[int, int] | None = None,
        classes: Mapping[int, str] | None = None,
    ) -> bool:
        """Tell whether there is an entry for the case (sound or not); arguments as ``prepare``."""
        key = _recipe(case, preprocessing, channels, remap, classes).key()
        return (self.root / key[:2] / key).is_dir()

    def _rebuild(self, recipe: Recipe, key: str, folder: Path) -> None:
        """Build an entry anew whose files look whole but cannot be decompressed."""
        warnings.warn(f"{folder}: damaged cache entry, built anew", stacklevel=3)
        self._build(recipe, key, folder, replace=True)

    def _build(
        self, recipe: Recipe, key: str, folder: Path, *, replace: bool = False
    ) -> dict[str, Any]:
        temporary = folder.with_name(f".building-{key[:16]}-{uuid.uuid4().hex}")
        try:
            _sweep(folder.parent)
            temporary.mkdir(parents=True)
            meta = recipe.write(temporary, key)
            return _move_into_place(temporary, folder, meta, replace=replace)
        except OSError as error:
            free = _free_bytes(self.root)
            raise DataError(
                f"{self.root}: cannot write the cache entry of {recipe.case.id}: {error}"
                f" ({free / 1e9:.1f} GB free); give another folder or make room"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _recipe(
    case: Case,
    preprocessing: Preprocessing,
    channels: Sequence[str],
    remap: Mapping[int, int] | None,
    classes: Mapping[int, str] | None,
) -> Recipe:
    ids = None if classes is None else tuple(sorted(classes))
    return Recipe(case, preprocessing, tuple(channels), dict(remap or {}), ids)


def disk_estimate(
    headers: Iterable[Header], preprocessing: Preprocessing, *, labelled: bool = False
) -> int:
    """Return a cautious estimate in bytes of what these images will take in the cache.

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
        shape = preprocessing.shape or working_shape(native, preprocessing.spacing)
        working = int(np.prod(shape))
        total += 2.0 * working + (0.1 * (working + np.prod(native.shape)) if labelled else 0.0)
        total += 64 * 1024
    return int(total)


def _move_into_place(
    temporary: Path, folder: Path, meta: dict[str, Any], *, replace: bool
) -> dict[str, Any]:
    """Rename the new entry to its place; use the one found there if it is whole."""
    while True:
        try:
            temporary.rename(folder)
            return meta
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
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
