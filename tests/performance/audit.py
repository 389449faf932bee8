"""Speed of ``bench data audit`` once fingerprints exist: 10,000 volumes against 500 test cases.

Landmarks are those of phantoms, moved and blurred so that no two volumes are the same; a hundred
test cases are planted among the volumes and must be found. Run from the repository's root:

    python tests/performance/audit.py [VOLUMES] [TESTS]
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

from medssl_bench.audit.fingerprint import Fingerprint, fingerprint
from medssl_bench.audit.matching import Index
from medssl_bench.data.phantoms import PhantomSource, phantom_seeds

SOURCES = 40
PLANTED = 100


def main(volumes: int = 10_000, tests: int = 500) -> None:
    """Time index and matching; say what was found and the memory held."""
    began = time.perf_counter()
    real = [fingerprint(PhantomSource(s, "CT").read()) for s in phantom_seeds(("audit",), SOURCES)]
    seconds = (time.perf_counter() - began) / SOURCES
    print(f"fingerprint of a phantom: {seconds:.2f} s, {np.mean([len(f) for f in real]):.0f} marks")
    made = [blurred(real[n % SOURCES], n) for n in range(tests)]
    began = time.perf_counter()
    index = Index(made)
    planted = min(PLANTED, tests, volumes)
    step = volumes // planted

    def corpus() -> Iterator[Fingerprint]:
        for n in range(volumes):
            if n % step == 0 and n // step < planted:
                yield made[n // step]
            else:
                yield blurred(real[n % SOURCES], 10**6 + n)

    making = time.perf_counter()
    for _ in corpus():
        pass
    making = time.perf_counter() - making
    found = [(match.other, match.test) for match in index.matches(corpus())]
    seconds = time.perf_counter() - began - 2 * making
    right = sum(other == test * step for other, test in found)
    print(
        f"{volumes} volumes against {tests}: {seconds:.1f} s; {right} of {planted} planted found,"
        f" {len(found) - right} others;"
        f" peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


def blurred(real: Fingerprint, seed: int) -> Fingerprint:
    """Return landmarks somewhere else, that look less like those they come from."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.6 * 127 / np.sqrt(real.descriptors.shape[1]), real.descriptors.shape)
    noisy = real.descriptors + noise
    noisy *= 127 / np.maximum(np.linalg.norm(noisy, axis=1, keepdims=True), 1e-9)
    return Fingerprint(
        rng.permutation(real.places) + rng.normal(0, 20, real.places.shape).astype(np.float32),
        real.turns,
        real.grids,
        np.rint(noisy).astype(np.int8),
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
