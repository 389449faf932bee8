"""What the harness costs beside training: python tests/performance/overhead.py

Start of a process until its first step, time of a cell beside its training and evaluation, how long
a checkpoint of a large network stalls it, and what cells gain by sharing a device. Exit code 1: a
cell costs over 2 s, a start over 5 s, or checkpoints over 2 % of the paper's interval.

Most of a start is the import of torch, its compiler and Fabric, which is measured beside it. MONAI,
which takes as long again, is imported by the first evaluation. Where torchmetrics is installed (by
`lightly`, for tests), Fabric imports it; it is hidden here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CELL_SECONDS, START_SECONDS, STALL = 2.0, 5.0, 0.02
SMALL, FIRST = (
    Path(__file__).parents[1] / "plugins" / f"{name}.py" for name in ("small", "first_step")
)
LIBRARIES = "import torch._dynamo, lightning_fabric, timm.optim, pandas"
SETTINGS = [
    "finetune.crop=[32, 32, 32]",
    "finetune.steps={steps}",
    "similarity.groups=0",
    "tracking=false",
    "evaluate.overlap=0.0",
]


def run(folder: Path, cells: int, steps: int, workers: int = 1, *more: str) -> float:
    """Run this many small cells; returns seconds by the clock."""
    sets = [word for setting in SETTINGS for word in ("--set", setting.format(steps=steps))]
    began = time.monotonic()
    words = ["--profile", "demo", "--methods", "scratch", "--tasks", "phantom_small"]
    words += ["--shots", "2", "--draws", "1", "--seeds", str(cells), "--plugin", str(SMALL)]
    words += ["--results", "results", "--workers", str(workers), *sets, *more]
    command = [sys.executable, "-m", "medssl_bench", "run", *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment(folder))
    return time.monotonic() - began


def environment(folder: Path) -> dict[str, str]:
    """Return that of a process on one thread, without torchmetrics."""
    hidden = folder / "hidden"
    hidden.mkdir(exist_ok=True)
    (hidden / "torchmetrics.py").write_text("raise ImportError('hidden')\n")
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(hidden),
        "BENCH_TEST_FIRST_STEP": str(folder / "first_step"),
    }


def recorded_seconds(folder: Path) -> list[float]:
    """Seconds of training and evaluation, as recorded, of every cell."""
    found = (folder / "results").glob("records/*/*/record.json")
    found = sorted(found, key=lambda path: path.stat().st_mtime)
    return [3600 * json.loads(path.read_bytes())["cost"]["wall_hours"] for path in found]


def harness(folder: Path) -> tuple[float, float, float]:
    """Return seconds of a cell beside training and evaluation, of a start, and of libraries in it.

    A cell's by difference of runs of many and of one, a start's by a plugin; medians of three.
    """
    run(folder, 1, 1)  # fills the cache, and the disk's
    one = run(folder, 2, 1)  # of which one is recorded
    six = run(folder, 8, 1)
    took = recorded_seconds(folder)[-5:]  # not the first, which imports MONAI
    cell = (six - one) / 5 - sum(took) / len(took)
    starts, libraries = [], []
    for number in range(9, 12):
        run(folder, number, 1, 1, "--plugin", str(FIRST))
        starts.append(float((folder / "first_step").read_text()))
        began = time.monotonic()
        words = [sys.executable, "-c", LIBRARIES]
        subprocess.run(words, check=True, capture_output=True, env=environment(folder))
        libraries.append(time.monotonic() - began)
    return cell, sorted(starts)[1], sorted(libraries)[1]


def stall() -> tuple[float, float]:
    """Return seconds that a checkpoint of the 65 M network takes, and its share of the interval."""
    import torch

    from medssl_bench import checkpoint
    from medssl_bench.config import load_settings
    from medssl_bench.networks import build_encoder

    encoder = build_encoder("swin_65m")
    moments = {n: [p.detach().clone() for _ in range(2)] for n, p in encoder.named_parameters()}
    state = {"method": encoder.state_dict(), "optimizer": moments, "rng": torch.get_rng_state()}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        times = []
        for _ in range(4):
            began = time.monotonic()
            checkpoint.save(Path(name), state)
            times.append(time.monotonic() - began)
    interval = 60 * load_settings("paper", {}).checkpoint_minutes
    middle = sorted(times)[len(times) // 2]
    return middle, middle / interval


def packed(folder: Path, cells: int = 4, steps: int = 40) -> float:
    """Return how many times faster cells are together than one after another."""
    times = {}
    for workers in (1, cells):
        place = folder / f"packed{workers}"
        place.mkdir()
        run(place, 1, 1)
        times[workers] = run(place, cells, steps, workers)
    return times[1] / times[cells]


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        cell, start, libraries = harness(Path(name))
        seconds, share = stall()
        together = packed(Path(name))
    print(f"a cell beside training and evaluation: {cell:.2f} s (at most {CELL_SECONDS:.0f})")
    print(f"a start until its first step: {start:.2f} s (at most {START_SECONDS:.0f}),"
          f" of which libraries {libraries:.2f} s")  # fmt: skip
    print(f"a checkpoint of swin_65m: {seconds:.2f} s, {share:.2%} of the paper's interval"
          f" (at most {STALL:.0%})")  # fmt: skip
    print(
        f"4 cells by 4 workers against one after another, {os.cpu_count()} cores: x{together:.2f}"
    )
    return int(cell > CELL_SECONDS or start > START_SECONDS or share > STALL)


if __name__ == "__main__":
    sys.exit(main())
