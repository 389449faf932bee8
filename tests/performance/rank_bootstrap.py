"""10,000 resampled rankings of 12 methods on 9 tasks with 100 cases each, within 10 s.

Run by ``make speed``: a JSON line, then words; exit code 1 above the target, or where the resampled
means disagree with a plain loop.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from medssl_bench.analysis.statistics.bootstrap import percentile_interval, resampled_means
from medssl_bench.analysis.statistics.ranks import kendall_tau, ranks_of

METHODS, TASKS, CASES, DRAWS, SEEDS, RESAMPLES = 12, 9, 100, 5, 3, 10_000
TARGET_SECONDS = 10.0


def main() -> int:
    """Measure, print, and return the exit code."""
    random = np.random.default_rng(0)
    tasks = [random.normal(0.8, 0.1, (METHODS, DRAWS, SEEDS, CASES)) for _ in range(TASKS)]
    began = time.perf_counter()
    ranks = np.stack(
        [ranks_of(resampled_means(task, RESAMPLES, seed)) for seed, task in enumerate(tasks)],
        axis=1,
    )
    mean = ranks.mean(axis=1)
    low, high = percentile_interval(ranks_of(-mean))
    tau = kendall_tau(-mean.mean(axis=0), -mean)
    seconds = time.perf_counter() - began

    task = tasks[0]
    spread = resampled_means(task, RESAMPLES).std(axis=0)
    plain = np.array([_plain(task, random).mean(axis=(1, 2, 3)) for _ in range(2_000)]).std(axis=0)
    error = float(np.abs(spread / plain - 1).max())
    ok = seconds <= TARGET_SECONDS and error < 0.1
    row = {
        "name": "rank bootstrap",
        "what": f"{RESAMPLES} resamples, {METHODS} methods, {TASKS} tasks, {CASES} cases,"
        f" {DRAWS} draws x {SEEDS} seeds",
        "seconds": round(seconds, 3),
        "target_seconds": TARGET_SECONDS,
        "spread_error": round(error, 4),
        "tau_mean": round(float(tau.mean()), 3),
        "ok": ok,
    }
    print(json.dumps(row))
    print(
        f"rank bootstrap: {seconds:.2f} s (target {TARGET_SECONDS:g} s), mean width of rank"
        f" intervals {float((high - low).mean()):.1f}; spread within {error:.1%} of a plain loop"
    )
    return 0 if ok else 1


def _plain(task: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Resample by indices: n - 1 draws, within each n - 1 seeds, and n - 1 cases for all."""
    cases = random.integers(0, CASES, CASES - 1)
    chosen = random.integers(0, DRAWS, DRAWS)[: DRAWS - 1]
    seeds = {draw: random.integers(0, SEEDS, SEEDS - 1) for draw in set(chosen.tolist())}
    return np.stack([task[:, draw][:, seeds[draw]][..., cases] for draw in chosen.tolist()], axis=1)


if __name__ == "__main__":
    sys.exit(main())
