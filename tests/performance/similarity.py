"""CKA of 14 x 14 layers over 200 cases: ours against pairwise computation, values equal.

The baseline does what ``torch_cka`` does with each minibatch: for every pair of layers it makes the
Gram matrices and three unbiased HSICs by their three terms (Nguyen et al. 2021; Song et al. 2012).
``pairs`` is what comes after the Gram matrices, which grows with the square of the layers, and has
a target; ``whole`` starts from features, where most of the time is spent reading them.

Times are CPU seconds. Run by ``make speed``: a JSON line, then a table; exit code 1 where values
differ, the ratio is below the target, or memory grows with the number of cases.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medssl_bench.analysis.similarity import MinibatchCKA, centred_gram, u_centre
from medssl_bench.config import SimilaritySettings

CASES, FEW_CASES = 200, 40
GROUP = 20
CELLS = SimilaritySettings().cells
WIDTHS = [48] * 2 + [96] * 2 + [192] * 8 + [384] * 2
"""Channels of the 14 blocks of swin_65m."""
GRIDS = [48] * 2 + [24] * 2 + [12] * 8 + [6] * 2
"""Their tokens along each axis of a crop of 96 voxels."""
TARGET = 20.0
GROWTH = 16 * 2**20
"""Bytes that five times as many cases may take more, for what the allocator keeps."""

Layers = Sequence[NDArray[np.float32]]


def groups(cases: int) -> Iterator[tuple[Layers, Layers]]:
    """Yield the averaged features ``(GROUP, d)`` of both networks' layers, group by group."""
    random = np.random.default_rng(0)
    for _ in range(cases // GROUP):
        first = [
            random.standard_normal((GROUP, width * min(CELLS, grid) ** 3), dtype=np.float32)
            for width, grid in zip(WIDTHS, GRIDS, strict=True)
        ]
        yield first, [one + np.float32(0.7) * np.roll(one, 1, axis=1) for one in first]


def add_ours(first: Layers, second: Layers, table: MinibatchCKA) -> float:
    """Add one minibatch; return the seconds spent after the Gram matrices."""
    grams = [[centred_gram(layer) for layer in one] for one in (first, second)]
    start = time.process_time()
    table.add(*([u_centre(gram) for gram in one] for one in grams))
    return time.process_time() - start


def three_terms(k: Tensor, m: Tensor) -> float:
    """Return the unbiased HSIC of two Gram matrices without diagonals."""
    n = k.shape[0]
    ones = torch.ones(n, 1)
    result = torch.trace(k @ m)
    result += ((ones.t() @ k @ ones @ ones.t() @ m @ ones) / ((n - 1) * (n - 2))).item()
    result -= ((ones.t() @ k @ m @ ones) * 2 / (n - 2)).item()
    return float(result) / (n * (n - 3))


def bare_gram(features: NDArray[np.float32]) -> Tensor:
    """Return the Gram matrix without its diagonal."""
    flat = torch.from_numpy(features)
    return (flat @ flat.t()).fill_diagonal_(0.0)


def add_pairwise(first: Layers, second: Layers, sums: NDArray[np.float64]) -> float:
    """Add one minibatch to the sums ``(14, 14, 3)`` of HSIC(K, K), HSIC(K, L) and HSIC(L, L).

    Returns the seconds spent after the Gram matrices.
    """
    seconds = 0.0
    for i, one in enumerate(first):
        k = bare_gram(one)
        sums[i, :, 0] += three_terms(k, k)
        for j, other in enumerate(second):
            m = bare_gram(other)
            start = time.process_time()
            sums[i, j, 1:] += three_terms(k, m), three_terms(m, m)
            seconds += time.process_time() - start
    return seconds


def compare() -> dict[str, float]:
    """Time both ways over all cases; making the features is not timed."""
    table, sums = MinibatchCKA(), np.zeros((len(WIDTHS), len(WIDTHS), 3))
    seconds = dict.fromkeys(("ours", "pairwise", "our_pairs", "their_pairs"), 0.0)
    for first, second in groups(CASES):
        start = time.process_time()
        seconds["our_pairs"] += add_ours(first, second, table)
        middle = time.process_time()
        seconds["their_pairs"] += add_pairwise(first, second, sums)
        seconds["ours"] += middle - start
        seconds["pairwise"] += time.process_time() - middle
    theirs = sums[..., 1] / np.sqrt(sums[..., 0] * sums[..., 2])
    return {**seconds, "error": float(np.abs(theirs - table.matrix).max())}


def peak_memory(cases: int) -> int:
    """Return the most bytes that a process of its own holds for so many cases."""
    found = subprocess.run(
        [sys.executable, __file__, str(cases)], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


def print_peak(cases: int) -> None:
    """Compute ours over so many cases and print the most bytes held."""
    table = MinibatchCKA()
    for first, second in groups(cases):
        add_ours(first, second, table)
    assert np.isfinite(table.matrix).all()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> int:
    """Measure all in one run and print the ratios."""
    found = compare()
    ratio = found["their_pairs"] / found["our_pairs"]
    whole = found["pairwise"] / found["ours"]
    few, many = peak_memory(FEW_CASES), peak_memory(CASES)
    equal, flat = found["error"] < 1e-5, many - few < GROWTH
    threads = torch.get_num_threads()
    result = {
        "name": "similarity",
        "what": f"CKA, 14x14 layers, {CASES} cases in groups of {GROUP}",
        "ours_s": round(found["our_pairs"], 4),
        "theirs_s": round(found["their_pairs"], 4),
        "ratio": round(ratio, 1),
        "target": TARGET,
        "whole": {name: round(found[name], 4) for name in ("ours", "pairwise")},
        "whole_ratio": round(whole, 1),
        "equal": equal,
        "max_difference": found["error"],
        "memory_mib": {str(FEW_CASES): few >> 20, str(CASES): many >> 20},
        "threads": threads,
        "ok": equal and flat and ratio >= TARGET,
    }
    print(json.dumps(result))
    print(f"CKA of 14 x 14 layers over {CASES} cases in groups of {GROUP}, {threads} thread")
    print(f"  {'':<14}{'pairs':>10}{'whole':>10}")
    print(f"  {'medssl-bench':<14}{found['our_pairs']:8.3f} s{found['ours']:8.3f} s")
    print(f"  {'pairwise':<14}{found['their_pairs']:8.3f} s{found['pairwise']:8.3f} s")
    print(f"  {'ratio':<14}{ratio:8.1f}  {whole:8.1f}    (target of pairs: {TARGET:g})")
    print(f"  largest difference: {found['error']:.1e}")
    print(f"  peak memory: {few >> 20} MiB for {FEW_CASES} cases, {many >> 20} MiB for {CASES}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_peak(int(sys.argv[1]))
    else:
        sys.exit(main())
