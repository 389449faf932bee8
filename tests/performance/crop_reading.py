"""Random 96^3 crops of 512x512x300 scans: our cache against MONAI's PersistentDataset.

Each side prepares in one process and reads in another, so that a reader's peak memory is its own.
Run by ``make speed``: a JSON line, then a table; exit code 1 where values differ or a target is
missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

SHAPE = (512, 512, 300)
CROP = (96, 96, 96)
SPACING = (0.8, 0.8, 1.0)
FIXED = (200, 180, 100)
TARGET, MEMORY_TARGET = 30.0, 10.0
READS = {"ours": 200, "monai": 24}
SCANS = 2


def write_scans(folder: Path) -> None:
    """Write CTs of 512x512x300: an elliptic body with soft structure and scanner noise, in HU."""
    import nibabel as nib
    import numpy as np

    x, y, z = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    for number in range(SCANS):
        rng = np.random.default_rng(number)
        body = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
        organs = 60 * np.sin(7 * x + number) * np.cos(6 * y + 4 * z)
        hu = np.where(body, 40 + organs, -1000).astype(np.float32)
        hu += 12 * rng.standard_normal(SHAPE, dtype=np.float32)
        image = nib.Nifti1Image(np.rint(hu).astype(np.int16), np.diag([*SPACING, 1.0]))
        nib.save(image, folder / f"scan_{number}.nii")


def read_ours(folder: Path, reads: int) -> dict[str, Any]:
    """Read crops from the blosc2 cache; the first call fills it."""
    import numpy as np

    from medssl_bench.data.cache import VolumeCache
    from medssl_bench.data.crops import random_start
    from medssl_bench.data.reading import FileSource
    from medssl_bench.task import Case, Preprocessing

    cache, settings = VolumeCache(folder / "ours"), Preprocessing(spacing=None)
    scans = [
        cache.prepare(Case(path.name, {"image": FileSource(path)}), settings, channels=["image"])
        for path in sorted(folder.glob("*.nii"))
    ]
    rng = np.random.default_rng(0)
    seconds = []
    for number in range(reads):
        start = time.perf_counter()
        scan = scans[number % SCANS]
        crop = scan.image_crop(random_start(scan.shape, CROP, rng), CROP)
        seconds.append(time.perf_counter() - start)
        assert crop.shape == (1, *CROP)
    fixed = scans[0].image_crop(FIXED, CROP).astype(np.float64)
    return _measured(seconds, fixed.reshape(-1))


def read_monai(folder: Path, reads: int) -> dict[str, Any]:
    """Read crops as MONAI's documentation does; the first call fills the dataset's cache."""
    import numpy as np
    import torch
    from monai.data import PersistentDataset
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        Orientationd,
        RandSpatialCropd,
        ScaleIntensityRanged,
        Spacingd,
    )

    torch.set_num_threads(1)
    shared = [
        LoadImaged(keys="image"),
        EnsureChannelFirstd(keys="image"),
        Orientationd(keys="image", axcodes="RAS", labels=None),
        Spacingd(keys="image", pixdim=SPACING),
        ScaleIntensityRanged(keys="image", a_min=-175, a_max=250, b_min=0, b_max=1, clip=True),
    ]
    random_crop = RandSpatialCropd(keys="image", roi_size=CROP, random_size=False)
    files = [{"image": str(path)} for path in sorted(folder.glob("*.nii"))]
    data = PersistentDataset(files, Compose([*shared, random_crop]), cache_dir=folder / "monai")
    random_crop.set_random_state(0)
    if not reads:
        for number in range(SCANS):
            data[number]
    seconds = []
    for number in range(reads):
        start = time.perf_counter()
        crop = data[number % SCANS]["image"]
        seconds.append(time.perf_counter() - start)
        assert tuple(crop.shape) == (1, *CROP)
    whole = PersistentDataset(files[:1], Compose(shared), cache_dir=folder / "monai")[0]["image"]
    where = tuple(slice(at, at + side) for at, side in zip(FIXED, CROP, strict=True))
    fixed = whole[(0, *where)]
    return _measured(seconds, np.asarray(fixed, dtype=np.float64).reshape(-1))


def _measured(seconds: list[float], fixed: Any) -> dict[str, Any]:
    """Return the median time, this process's peak memory, and some voxels of one fixed crop."""
    # Not ru_maxrss: that one starts from the parent's memory.
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "seconds": median(seconds) if seconds else None,
        "peak_mb": int(peak.split()[1]) / 1024,
        "voxels": fixed[:: max(1, len(fixed) // 500)].tolist(),
    }


def in_own_process(role: str, folder: Path, reads: int) -> dict[str, Any]:
    """Run one side in a process of its own, one thread."""
    threads = {"OMP_NUM_THREADS": "1", "BLOSC_NTHREADS": "1"}
    command = [sys.executable, __file__, role, str(folder), str(reads)]
    done = subprocess.run(
        command, env=os.environ | threads, check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Measure both in one run and print the ratios."""
    with tempfile.TemporaryDirectory(prefix="crops-") as name:
        folder = Path(name)
        in_own_process("scans", folder, 0)
        sides = {}
        for side, reads in READS.items():
            in_own_process(side, folder, 0)
            sides[side] = in_own_process(side, folder, reads)
    ours, theirs = sides["ours"], sides["monai"]
    ratio = theirs["seconds"] / ours["seconds"]
    memory = theirs["peak_mb"] / ours["peak_mb"]
    pairs = zip(ours["voxels"], theirs["voxels"], strict=True)
    difference = max(abs(first - second) for first, second in pairs)
    equal = difference < 5e-4
    result = {
        "name": "crop_reading",
        "what": "random 96^3 crops of 512x512x300 scans",
        "ours_s": round(ours["seconds"], 5),
        "theirs_s": round(theirs["seconds"], 5),
        "ratio": round(ratio, 1),
        "target": TARGET,
        "ours_peak_mb": round(ours["peak_mb"], 1),
        "theirs_peak_mb": round(theirs["peak_mb"], 1),
        "memory_ratio": round(memory, 1),
        "memory_target": MEMORY_TARGET,
        "equal": equal,
        "max_difference": difference,
        "threads": 1,
        "ok": equal and ratio >= TARGET and memory >= MEMORY_TARGET,
    }
    print(json.dumps(result))
    print("Random 96^3 crops of 512x512x300 scans, caches warm, one thread, median")
    for label, side in (("medssl-bench", ours), ("MONAI", theirs)):
        print(f"  {label:<14}{side['seconds'] * 1e3:8.1f} ms   peak {side['peak_mb']:6.0f} MB")
    print(f"  {ratio:.0f} times faster (target {TARGET:g}), ", end="")
    print(f"{memory:.1f} times less memory (target {MEMORY_TARGET:g})")
    print(f"  largest difference of a voxel: {difference:.1e} (float16 rounds by 2.4e-4)")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    role, where, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if role == "scans":
        write_scans(where)
        print(json.dumps({}))
    else:
        print(json.dumps({"ours": read_ours, "monai": read_monai}[role](where, count)))
