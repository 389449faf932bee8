"""What the harness costs beside training: python tests/performance/overhead.py

Start of a process until its first step, time of a cell beside its training and evaluation, how long
a checkpoint of a large network stalls it, and what cells gain by sharing a device. Exit code 1: a
cell costs over 2 s, a start over 5 s, or checkpoints over 2 % of the paper's interval.
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
SMALL = Path(__file__).parents[1] / "plugins" / "small.py"
SETTINGS = [
    "finetune.crop=[32, 32, 32]",
    "finetune.steps={steps}",
    "similarity.groups=0",
    "tracking=false",
    "evaluate.overlap=0.0",
]


def run(folder: Path, cells: int, steps: int, workers: int = 1) -> float:
    """Run this many small cells; returns seconds by the clock."""
    sets = [word for setting in SETTINGS for word in ("--set", setting.format(steps=steps))]
    began = time.monotonic()
    words = ["--profile", "demo", "--methods", "scratch", "--tasks", "phantom_small"]
    words += ["--shots", "2", "--draws", "1", "--seeds", str(cells), "--plugin", str(SMALL)]
    words += ["--results", "results", "--workers", str(workers), *sets]
    command = [sys.executable, "-m", "medssl_bench", "run", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    return time.monotonic() - began


def recorded_seconds(folder: Path) -> list[float]:
    """Seconds of training and evaluation, as recorded, of every cell."""
    found = (folder / "results").glob("records/*/*/record.json")
    return [3600 * json.loads(path.read_bytes())["cost"]["wall_hours"] for path in found]


def harness(folder: Path) -> tuple[float, float]:
    """Return seconds of a cell beside training and evaluation, and of a start, by difference."""
    (folder / "one").mkdir()
    (folder / "six").mkdir()
    run(folder / "one", 1, 1)  # fills the cache, and the disk's
    for path in (folder / "one").iterdir():
        subprocess.run(["cp", "-r", path, folder / "six"], check=True)
    # Each folder has a cell already, which is skipped, and its prepared volumes.
    one = run(folder / "one", 2, 1)
    six = run(folder / "six", 7, 1)
    took = recorded_seconds(folder / "six")
    inside = sum(took) / len(took)
    cell = (six - one) / 5 - inside
    return cell, one - inside - cell


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
        cell, start = harness(Path(name))
        seconds, share = stall()
        together = packed(Path(name))
    print(f"a cell beside training and evaluation: {cell:.2f} s (at most {CELL_SECONDS:.0f})")
    print(f"a start until work begins: {start:.2f} s (at most {START_SECONDS:.0f})")
    print(f"a checkpoint of swin_65m: {seconds:.2f} s, {share:.2%} of the paper's interval"
          f" (at most {STALL:.0%})")  # fmt: skip
    print(
        f"4 cells by 4 workers against one after another, {os.cpu_count()} cores: x{together:.2f}"
    )
    return int(cell > CELL_SECONDS or start > START_SECONDS or share > STALL)


if __name__ == "__main__":
    sys.exit(main())
