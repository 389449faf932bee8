"""How long ``bench --help`` takes, against 0.3 s and against starting Python alone.

Run by ``make speed``: a JSON line, then words; exit code 1 where the median is above the target.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET_SECONDS = 0.3
REPEATS = 10


def median_seconds(*command: str) -> float:
    """Return the median wall time of a command's runs, after one that is not counted."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> int:
    """Measure, print, and return the exit code."""
    script = shutil.which("bench", path=str(Path(sys.executable).parent))
    if script is None:
        print("bench is not installed beside this Python", file=sys.stderr)
        return 1
    seconds = median_seconds(script, "--help")
    bare = median_seconds(sys.executable, "-c", "pass")
    row = {
        "name": "bench --help",
        "seconds": round(seconds, 4),
        "python_seconds": round(bare, 4),
        "of_target": round(seconds / TARGET_SECONDS, 3),
        "of_python": round(seconds / bare, 2),
        "target_seconds": TARGET_SECONDS,
    }
    print(json.dumps(row))
    print(
        f"bench --help: {seconds * 1000:.0f} ms (target {TARGET_SECONDS * 1000:.0f} ms),"
        f" {seconds / bare:.1f} times `python -c pass` ({bare * 1000:.0f} ms)"
    )
    return 0 if seconds <= TARGET_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
