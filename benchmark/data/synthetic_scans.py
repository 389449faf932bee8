"""A tiny tree of a dataset of classified volumes, in its official layout, with its tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.orientation import from_ras
from medssl_bench.data.synthetic import SHAPE, itk_image, save_volume, stored_affine, tree_of
from medssl_bench.digest import seed_from
from medssl_bench.errors import BenchError

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
            save = _save_series if example.dicom else save_volume
            written.append(save(path, array, affine))
    for name, text in task.tables.items():
        path = out / name
        if path.exists():
            raise BenchError(f"{path} is already there; choose another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
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


def _save_series(folder: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Path:
    """Write a CT series, one file a slice, as TCIA names them."""
    import SimpleITK as sitk

    if folder.exists():
        raise BenchError(f"{folder} is already there; choose another --out")
    folder.mkdir(parents=True)
    image = itk_image(from_ras(array, affine), affine)
    direction = np.reshape(image.GetDirection(), (3, 3))
    # As in DICOM: numbers below a root, the same for the same names.
    root = f"1.2.826.0.1.3680043.2.1125.{seed_from('series', *folder.parts[-3:]) % 10**12}"
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    depth = image.GetSize()[2]
    for place in range(depth):
        one = image[:, :, place : place + 1]
        position = image.TransformIndexToPhysicalPoint((0, 0, place))
        tags = {
            "0008|0060": "CT",
            "0008|0018": f"{root}.{place + 1}",
            "0010|0020": folder.parts[-3],
            "0020|000d": f"{root}.{depth + 2}",
            "0020|000e": f"{root}.{depth + 1}",
            "0020|0013": str(place + 1),
            "0020|0032": _numbers(position),
            "0020|0037": _numbers([*direction[:, 0], *direction[:, 1]]),
        }
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"1-{place + 1:03d}.dcm"))
        writer.Execute(one)
    return folder


def _numbers(values: Iterable[float]) -> str:
    return "\\".join(f"{value:.6f}" for value in values)
