"""Preparing a labelled CT for training: ours against MONAI's transforms and nnU-Net's preprocessor.

Run by ``make speed``: for each rival a JSON line, then a table; exit code 1 where results differ or
a rival that does the same work is faster. One process, one thread, sides in turn, best of three
(once where the work is not the same). In seconds of CPU time, on which other processes weigh less;
waiting for the disk is not in it, so the wall clock stands beside it. Files are in the page cache.
A part of the table, ``write``, is what reading and computing leave of the whole.

The same for all sides: 512x512x100 int16 at 0.8x0.8x2.5 mm and its label (uint8), each a .nii.gz;
window [-175, 250] HU clipped to [0, 1] before resampling to 1.5x1.5x2 mm; both results on disk.

Not the same:

- Ours also digests the files (SHA-256), checks voxels and label ids, keeps the label before
  resampling, draws foreground voxels, digests and flushes what it wrote (float16, blosc2 with LZ4).
- MONAI keeps float32 and float32 labels, saved by ``torch.save`` as its PersistentDataset does,
  uncompressed. ``scale_extent`` gives it our grid (edges aligned); without, it keeps the first
  voxel's centre. It resamples in float32, which is faster than its default float64.
- nnU-Net keeps the storage orientation, crops to what is not 0 (filling holes), draws 10,000
  foreground voxels or 1 % and keeps float32 and int16, in blosc2 with LZ4HC, trying two filters.
  Images are resampled with order 3 and labels with order 1 by default, which is another result;
  with its own ``resampling_fn_*`` set to order 1 and 0 it is ours, by scikit-image or, faster, by
  torch. The last row leaves out the crop as well, so that nothing but our work is compared.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.update({"OMP_NUM_THREADS": "1", "BLOSC_NTHREADS": "1"})
# nnU-Net warns where these are not set; nothing is written there.
os.environ.update(
    dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), tempfile.gettempdir())
)

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from nnunetv2.preprocessing.preprocessors import default_preprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from medssl_bench.data.cache import VolumeCache
from medssl_bench.data.labels import class_ids
from medssl_bench.data.orientation import contiguous, to_ras
from medssl_bench.data.phantoms import CLASSES, PhantomSource
from medssl_bench.data.preprocess import preprocess_image, preprocess_label
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Volume
from medssl_bench.task import Case, Preprocessing

SHAPE, SPACING = (512, 512, 100), (0.8, 0.8, 2.5)
SETTINGS = Preprocessing()
NOISE_HU = 12.0
REPEATS = 3
WINDOW = ScaleIntensityRanged("image", a_min=-175, a_max=250, b_min=0, b_max=1, clip=True)
TARGET = 1.0
FLOAT16 = 2.0**-12
"""Largest rounding of a value below 1."""
TOLERANCE = 5e-4
"""That, and as much again for the rivals' arithmetic."""

SMOOTH_BOUND = 70 / 425 * (0.8**2 / 25**2 + 0.8**2 / 30**2 + 2.5**2 / 20**2) / 8
"""What linear interpolation errs at most on ``smooth_errors``' function: the sum over the axes of
the squared voxel size times the largest second derivative, over 8."""

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Image in [0, 1] and label ``(X, Y, Z)`` in RAS."""


@dataclass
class Side:
    """One way to prepare the case, whole and its two first parts; times as (CPU, wall) seconds."""

    name: str
    read: Callable[[], Any]
    compute: Callable[[Any], Any]
    whole: Callable[[], Any]
    result: Callable[[Any], Pair]
    same_work: bool = True
    best: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take_turn(self) -> Pair:
        """Measure all three once and return the result of the whole."""
        data = self._timed("read", self.read)
        self._timed("compute", partial(self.compute, data))
        return self.result(self._timed("whole", self.whole))

    def _timed(self, part: str, run: Callable[[], Any]) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        value = run()
        spent = time.process_time() - cpu, time.perf_counter() - wall
        before = self.best.get(part, spent)
        self.best[part] = min(before[0], spent[0]), min(before[1], spent[1])
        return value

    def seconds(self, part: str) -> float:
        """Return the least CPU time; ``write`` is what reading and computing leave of the whole."""
        if part != "write":
            return self.best[part][0]
        return self.best["whole"][0] - self.best["read"][0] - self.best["compute"][0]


def write_case(folder: Path) -> Pair:
    """Write a phantom on the fine grid with scanner noise, stored LPS; return it in RAS."""
    coarse = PhantomSource(1, "CT"), PhantomSource(1, "CT", "label")
    image, label = (
        torch.from_numpy(np.ascontiguousarray(to_ras(source.read()).array))[None, None].float()
        for source in coarse
    )
    resize = torch.nn.functional.interpolate
    hu = resize(image, SHAPE, mode="trilinear")[0, 0].numpy()
    hu += NOISE_HU * np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    ids = resize(label, SHAPE, mode="nearest-exact")[0, 0].numpy().astype(np.uint8)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    pair = np.rint(hu).astype(np.int16), ids
    for name, array in zip(("image", "label"), pair, strict=True):
        stored = nib.Nifti1Image(array[::-1, ::-1], affine)
        nib.save(stored, folder / f"{name}.nii.gz")
    return pair


def ours(folder: Path) -> Side:
    """Prepare into an empty cache; the files' digests are taken anew each time."""
    files = [folder / "image.nii.gz", folder / "label.nii.gz"]
    image, label = (FileSource(file) for file in files)
    case, cache = Case("case", {"image": image}, label), VolumeCache(folder / "ours")

    def compute(volumes: list[Volume]) -> None:
        working = preprocess_image(to_ras(volumes[0]), SETTINGS)
        ids = class_ids(volumes[1].array, None, CLASSES["CT"])
        native = to_ras(Volume(ids, volumes[1].affine))
        native = Volume(contiguous(native.array, np.uint8), native.affine)
        preprocess_label(native, working.header.shape)

    def whole() -> Any:
        shutil.rmtree(cache.root, ignore_errors=True)
        for file in files:
            file.touch()
        return cache.prepare(case, SETTINGS, channels=["image"], classes=CLASSES["CT"])

    return Side(
        "medssl-bench",
        lambda: [image.read(), label.read()],
        compute,
        whole,
        lambda prepared: (prepared.image()[0], prepared.label()),
    )


def monai(folder: Path, pixdim: tuple[float, ...]) -> Side:
    """Run the dictionary transforms, then save as PersistentDataset does."""
    keys = ["image", "label"]
    read = Compose([LoadImaged(keys), EnsureChannelFirstd(keys)])
    spacing = Spacingd(
        keys, pixdim, mode=("bilinear", "nearest"), dtype=np.float32, scale_extent=True
    )
    compute = Compose([Orientationd(keys, axcodes="RAS", labels=None), WINDOW, spacing])
    files = {key: str(folder / f"{key}.nii.gz") for key in keys}

    def whole() -> Any:
        data = compute(read(files))
        torch.save(data, folder / "monai.pt")
        return data

    return Side(
        "MONAI",
        lambda: read(files),
        compute,
        whole,
        lambda data: (data["image"][0].numpy(), data["label"][0].numpy()),
    )


def nnunet(folder: Path, how: str) -> Side:
    """Run the preprocessor ``how``: default, order 1, torch, or torch without the crop."""
    plans = PlansManager(nnunet_plans(how))
    configuration = plans.get_configuration("3d_fullres")
    preprocessor = default_preprocessor.DefaultPreprocessor(verbose=False)
    names = {name: number for number, name in CLASSES["CT"].items()}
    dataset = {"labels": {"background": 0, **names}, "file_ending": ".nii.gz"}
    image, label = [str(folder / "image.nii.gz")], str(folder / "label.nii.gz")
    target = folder / "nnunet"

    def read() -> Any:
        reader = plans.image_reader_writer_class()
        data, properties = reader.read_images(image)
        return data, reader.read_seg(label)[0], properties

    def compute(data: Any) -> Any:
        with cropping(how != "torch, no crop"):
            return preprocessor.run_case_npy(*data, plans, configuration, dataset)

    def whole() -> Any:
        for left in folder.glob("nnunet*"):
            left.unlink()
        with cropping(how != "torch, no crop"):
            preprocessor.run_case_save(str(target), image, label, plans, configuration, dataset)

    def result(_: Any) -> Pair:
        data, seg, *_ = nnUNetDatasetBlosc2(str(folder), [target.name]).load_case(target.name)
        x, y = (array[0].transpose(2, 1, 0)[::-1, ::-1] for array in (data[:], seg[:]))
        return x, np.maximum(y, 0)  # -1: background outside the filled nonzero mask

    return Side(f"nnU-Net, {how}", read, compute, whole, result, same_work=how != "order 3")


def nnunet_plans(how: str) -> dict[str, Any]:
    """Return the part of nnU-Net's plans that its preprocessor reads; its axes are Z, Y, X."""
    numpy_, torch_ = "resample_data_or_seg_to_shape", "resample_torch_fornnunet"
    # False: at 2.5 mm nnU-Net would else take the nearest slice, which is no trilinear result.
    orders = {
        "is_seg": False,
        "order_z": 0,
        "force_separate_z": None if how == "order 3" else False,
    }
    by_torch = {"is_seg": False, "num_threads": 1, "force_separate_z": False}
    images = (
        by_torch if how.startswith("torch") else orders | {"order": 3 if how == "order 3" else 1}
    )
    return {
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": -175.0, "std": 425.0, "percentile_00_5": -175.0, "percentile_99_5": 250.0}
        },
        "configurations": {
            "3d_fullres": {
                "spacing": list((SETTINGS.spacing or SPACING)[::-1]),
                "patch_size": [96, 96, 96],
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": torch_ if how.startswith("torch") else numpy_,
                "resampling_fn_data_kwargs": images,
                "resampling_fn_seg": numpy_,
                "resampling_fn_seg_kwargs": orders
                | {"is_seg": True, "order": 1 if how == "order 3" else 0},
                "architecture": {},
            }
        },
    }


@contextmanager
def cropping(wanted: bool) -> Iterator[None]:
    """Let nnU-Net's crop keep the whole volume, without looking for what is not 0."""

    def keep(data: Any, seg: Any) -> Any:
        return data, seg, [[0, side] for side in data.shape[1:]]

    if wanted:
        yield
    else:
        with patch.object(default_preprocessor, "crop_to_nonzero", keep):
            yield


def tie_planes(old: int, new: int) -> NDArray[np.bool_]:
    """Tell which of ``new`` centres lie on the border of two old voxels: either is nearest."""
    return (2 * np.arange(new) + 1) * old % (2 * new) == 0


def differences(first: Pair, second: Pair) -> tuple[float, float, float]:
    """Return the image's largest difference, the share of labels that differ, and without ties."""
    image = np.abs(first[0].astype(np.float32) - second[0]).max()
    unequal = first[1] != second[1]
    untied = [~tie_planes(old, new) for old, new in zip(SHAPE, unequal.shape, strict=True)]
    return float(image), float(unequal.mean()), float(unequal[np.ix_(*untied)].mean())


def smooth_errors(folder: Path) -> tuple[float, float]:
    """Return how far ours and MONAI with its own grid are from a smooth function they sample.

    Each at the places that its own affine gives its voxels, one voxel inside the border; the two
    grids lie up to half a voxel apart, so their voxels cannot be compared with each other.
    """

    def truth(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        steps, origin = np.diag(affine), affine[:3, 3]
        indices = np.ogrid[tuple(slice(side) for side in shape)]
        x, y, z = (o + s * i for o, s, i in zip(origin, steps, indices, strict=False))
        return (40 + 70 * (np.sin(x / 25) + np.cos(y / 30) * np.sin(z / 20)) + 175) / 425

    def error(found: NDArray[Any], affine: Any) -> float:
        apart = np.abs(found - truth(np.asarray(affine, np.float64), found.shape))
        return float(apart[1:-1, 1:-1, 1:-1].max())

    file = folder / "smooth.nii.gz"
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    hu = truth(affine, SHAPE) * 425 - 175
    nib.save(nib.Nifti1Image(hu.astype(np.float32), affine), file)
    case = Case("smooth", {"image": FileSource(file)})
    mine = VolumeCache(folder / "smooth").prepare(case, SETTINGS, channels=["image"])
    keys = ["image"]
    turn = Orientationd(keys, axcodes="RAS", labels=None)
    chain = [LoadImaged(keys), EnsureChannelFirstd(keys), turn, WINDOW]
    theirs = Compose([*chain, Spacingd(keys, SETTINGS.spacing)])({"image": str(file)})["image"]
    return error(mine.image()[0], mine.affine), error(theirs[0].numpy(), theirs.affine)


def report(mine: Side, rival: Side, apart: tuple[float, float, float]) -> bool:
    """Print the JSON line of a rival; one that does other work cannot fail."""
    equal = apart[0] <= TOLERANCE and apart[2] == 0
    ratio = rival.seconds("whole") / mine.seconds("whole")
    good = not rival.same_work or (equal and ratio >= TARGET)
    line = {
        "name": "prepare",
        "what": "512x512x100 CT and label, .nii.gz to the cache",
        "rival": rival.name,
        "ours_s": round(mine.seconds("whole"), 3),
        "theirs_s": round(rival.seconds("whole"), 3),
        "ratio": round(ratio, 2),
        "target": TARGET if rival.same_work else None,
        "equal": equal,
        "max_difference": apart[0],
        "labels_differ": apart[1],
        "labels_differ_without_ties": apart[2],
        "threads": torch.get_num_threads(),
        "ok": good,
    }
    print(json.dumps(line))
    return good


def main() -> int:
    """Measure all sides in turn, compare what they made and print the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        folder = Path(name)
        write_case(folder)
        mine = ours(folder)
        reference = mine.take_turn()
        mine.best.clear()
        shape = reference[0].shape
        sides = zip(SHAPE, SPACING, shape, strict=True)
        # The spacing of our grid: the requested one, rounded to whole voxels.
        pixdim = tuple(old * step / new for old, step, new in sides)
        rivals = [
            monai(folder, pixdim),
            *(nnunet(folder, how) for how in ("order 3", "order 1", "torch", "torch, no crop")),
        ]
        good, apart = True, {}
        for turn in range(REPEATS):
            assert all(map(np.array_equal, mine.take_turn(), reference))
            for rival in rivals:
                if rival.same_work or turn == 0:
                    apart[rival.name] = differences(reference, rival.take_turn())
        smooth = smooth_errors(folder)
    for rival in rivals:
        good &= report(mine, rival, apart[rival.name])
    good &= smooth[0] <= SMOOTH_BOUND + FLOAT16
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"CPU seconds, best; Mvoxel/s per core; wall clock of the whole; the machine's load: {load}"
    )
    columns = ("read", "compute", "write", "whole")
    print("  " + " " * 24 + "".join(f"{name:>9}" for name in (*columns, "Mvoxel/s", "wall")))
    for side in (mine, *rivals):
        seconds = {part: side.seconds(part) for part in columns}
        shown = [seconds[part] for part in columns] if side.same_work else [seconds["whole"]]
        shown += [np.prod(SHAPE) / seconds["whole"] / 1e6, side.best["whole"][1]]
        cells = "".join(f"{value:9.2f}" for value in shown)
        print(f"  {side.name:<24}{cells:>54}")
    print("Largest error on a smooth volume, each on its own grid: ", end="")
    print(f"ours {smooth[0]:.1e} (float16), MONAI {smooth[1]:.1e} (float32)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
