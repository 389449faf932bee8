"""A tiny tree of a dataset of classified volumes, in its official layout, with its tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.orientation import from_ras
from medssl_bench.data.synthetic import (
    SHAPE,
    make_way,
    save_series,
    save_volume,
    stored_affine,
    tree_of,
)
from medssl_bench.digest import seed_from

if TYPE_CHECKING:
    from medssl_bench.tasks.classified import Classified, Example


def synthesise_scans(task: Classified, out: Path, tree_name: str | None = None) -> list[Path]:
    """Write the task's examples and tables below ``out``; returns files and folders of DICOM.

    Bodies with an ellipsoid that is the larger the higher the class id. It is no anatomy, and
    proves nothing about methods.

    Raises:
        BenchError: No such tree, or a file is already there.
    """
    written: list[Path] = []
    for example in task.examples[tree_of(task, tree_name).name]:
        affine = stored_affine(example.codes)
        for channel, array in draw_scan(task, example).items():
            path = out / example.path.replace("{channel}", channel)
            if example.dicom:
                stored = np.ascontiguousarray(from_ras(array, affine))
                written.append(save_series(make_way(path), stored, affine, path.parts[-3]))
            else:
                written.append(save_volume(path, array, affine))
    for name, text in task.tables.items():
        path = make_way(out / name)
        path.write_text(text, "utf-8")
        written.append(path)
    return written


def draw_scan(task: Classified, example: Example) -> dict[str, NDArray[np.int16]]:
    """Return an example's channels ``(X, Y, Z)`` in RAS."""
    rng = np.random.default_rng(seed_from("synthetic", task.name, example.path))
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    body = (x / 0.9) ** 2 + (y / 0.8) ** 2 + (z / 1.3) ** 2 < 1
    radius = (0.2 + 0.3 * example.shows) * rng.uniform(0.9, 1.1)
    inside = (x - 0.2) ** 2 + (y + 0.1) ** 2 + (z - 0.1) ** 2 < radius**2
    levels = np.where(inside & body, 0.9, np.where(body, 0.4, 0.0))
    images = {}
    for channel in task.channels:
        noisy = levels * rng.uniform(0.8, 1.2) + rng.normal(0, 0.02, SHAPE) * body
        units = noisy * 800
        if task.modality == "CT":
            units = np.where(body, (noisy - 0.4) * 300, -1000)  # HU
        images[channel] = units.astype(np.int16)
    return images
