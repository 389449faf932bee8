"""A tiny tree in a dataset's official layout, to try its adapter without its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.orientation import from_ras
from medssl_bench.data.volume import Header, Volume
from medssl_bench.digest import seed_from
from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    import SimpleITK

    from medssl_bench.tasks.dicom_tree import DicomTree
    from medssl_bench.tasks.release import Release, Tree

SHAPE = (44, 40, 28)
SPACING = (1.3, 1.2, 1.8)
"""mm; not the same along all axes, so that exchanged axes show."""


def synthesise(task: Release, out: Path, tree_name: str | None = None) -> list[Path]:
    """Write the task's samples below ``out``, in its first tree or the one named.

    Bodies with one ellipsoid for each class, by seed; raw label ids, axis codes and file format are
    those of the dataset. It is no anatomy, and proves nothing about methods. Returns the files.

    Raises:
        BenchError: No such tree, or a file is already there.
    """
    from medssl_bench.data.synthetic_dicom import write_case
    from medssl_bench.tasks.dicom_tree import DicomTree

    tree = tree_of(task, tree_name)
    written: list[Path] = []
    for place, number in enumerate(task.samples.numbers):
        images, label = draw(task, number)
        affine = stored_affine(task.samples.codes[place % len(task.samples.codes)])
        if isinstance(tree, DicomTree):
            image = images[task.channels[0]]
            written += write_case(tree, number, place, image, label, affine, out)
            continue
        files, label_file = task.paths(number, tree)
        if tree.inside:
            arrays = {**images, "label": label}
            written.append(save_hdf5(out / label_file, tree, arrays))
            continue
        for channel, file in files.items():
            if channel in task.samples.apart:
                written.append(save_apart(out / file, images[channel]))
            else:
                written.append(save_volume(out / file, images[channel], affine))
        written.append(save_volume(out / label_file, label, affine))
    return written


def tree_of(task: Release, name: str | None) -> Tree | DicomTree:
    """Return a task's first tree, or the one named; raises BenchError where there is none."""
    trees = {tree.name: tree for tree in task.trees}
    if name is not None and name not in trees:
        raise BenchError(f"{task.name}: no tree {name!r}; known are {', '.join(trees)}")
    return trees[name] if name is not None else task.trees[0]


def draw(task: Release, number: str) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Return a case's channels and its label with raw ids, ``(X, Y, Z)`` in RAS."""
    raw = {to: value for value, to in task.remap.items() if to}
    ids = [raw.get(name, name) for name in task.classes]
    return draw_bodies((task.name, number), task.channels, ids, ct=task.modality == "CT")


def draw_bodies(
    words: tuple[str, ...], channels: Sequence[str], ids: Sequence[int] = (1, 2), *, ct: bool
) -> tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]:
    """Return int16 channels and a label of the given ids, ``(X, Y, Z)`` in RAS, by seed words."""
    rng = np.random.default_rng(seed_from("synthetic", *words))
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij"))
    body = (grid[0] / 0.9) ** 2 + (grid[1] / 0.8) ** 2 + (grid[2] / 1.3) ** 2 < 1
    label = np.zeros(SHAPE, dtype=np.uint8)
    levels = np.where(body, 0.4, 0.0)
    for place, name in enumerate(ids):
        # Classes from the outside in, each beside the middle of the one before.
        size = np.array([0.62, 0.55, 0.7]) * 0.75**place * rng.uniform(0.9, 1.1, 3)
        centre = rng.uniform(-0.12, 0.12, 3) + np.array([0.15, -0.1, 0.05])
        inside = (((grid - centre[:, None, None, None]) / size[:, None, None, None]) ** 2).sum(0)
        inside = (inside < 1) & body
        label[inside] = name
        levels[inside] = 0.55 + 0.4 * (place + 1) / len(ids)
    images = {}
    for channel in channels:
        noisy = levels * rng.uniform(0.8, 1.2) + rng.normal(0, 0.02, SHAPE) * body
        if ct:
            noisy = np.where(body, (noisy - 0.4) * 300, -1000)  # HU
        else:
            noisy = noisy * 800
        images[channel] = noisy.astype(np.int16)
    return images, label


def stored_affine(codes: str) -> NDArray[np.float64]:
    """Return the affine of an array ``SHAPE`` in RAS that is stored with these axis codes."""
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

    ras = np.diag([*SPACING, 1.0])
    ras[:3, 3] = [-side * step / 2 for side, step in zip(SHAPE, SPACING, strict=True)]
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    return np.asarray(ras @ inv_ornt_aff(turn, SHAPE))


def grid_apart() -> Header:
    """Return a grid that covers the samples', turned by 9 degrees and with thicker slices."""
    turn = np.eye(4)
    cos, sin = np.cos(np.radians(9)), np.sin(np.radians(9))
    turn[1:3, 1:3] = [[cos, -sin], [sin, cos]]
    shape, spacing = (38, 32, 16), (1.7, 1.7, 4.0)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-side * step / 2 for side, step in zip(shape, spacing, strict=True)]
    return Header(shape, turn @ affine)


def save_apart(path: Path, array: NDArray[Any]) -> Path:
    """Write an array in RAS as it would lie on a grid of its own."""
    from medssl_bench.data.regrid import resample

    moved = resample(Volume(array, stored_affine("RAS")), grid_apart())
    return save_volume(path, moved.array.astype(np.int16), moved.affine)


def save_volume(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Path:
    """Write an array in RAS in the storage order of ``affine``, in the format of the name.

    A name without an ending is that of a folder with a DICOM series of CT.
    """
    make_way(path)
    stored = np.ascontiguousarray(from_ras(array, affine))
    if path.name.endswith((".nii", ".nii.gz")):
        import nibabel

        nibabel.save(nibabel.Nifti1Image(stored, affine), path)
        return path
    if not path.suffix:
        return save_series(path, stored, affine)
    import SimpleITK as sitk

    sitk.WriteImage(itk_image(stored, affine), str(path), useCompression=True)
    return path


def save_hdf5(path: Path, tree: Tree, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write channels and label in RAS into one HDF5 file, in the storage order of the tree."""
    import h5py

    with h5py.File(make_way(path), "w") as file:
        for name, key in tree.inside.items():
            file[key] = np.ascontiguousarray(from_ras(arrays[name], np.array(tree.affine)))
    return path


def save_series(
    folder: Path, stored: NDArray[Any], affine: NDArray[np.float64], patient: str = ""
) -> Path:
    """Write int16 ``(X, Y, Z)`` in storage order as a DICOM series of CT, a file for each slice.

    Without a patient's name, the folder decides on one.
    """
    from medssl_bench.data.dicom_writing import Scan, write_scan

    patient = patient or str(seed_from("series", folder.as_posix()))
    name = str(seed_from("series", *folder.parts[-3:]))
    scan = Scan(patient, name, "CT", Volume(stored, affine).header)
    folder.mkdir(parents=True)
    files = [folder / f"1-{place + 1:03d}.dcm" for place in range(stored.shape[2])]
    write_scan(scan, stored, files)
    return folder


def make_way(path: Path) -> Path:
    """Make the folder of a new file and return it; raises BenchError where the file is there."""
    if path.exists():
        raise BenchError(f"{path} is already there; choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def itk_image(stored: NDArray[Any], affine: NDArray[np.float64]) -> SimpleITK.Image:
    """Return an array ``(X, Y, Z)`` in the storage order of ``affine`` as an image of ITK."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(stored).transpose(2, 1, 0))
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]  # ITK counts to the left and to the back
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image
