"""Speed of ``bench data audit`` once fingerprints exist: 10,000 volumes against 500 test cases.

Landmarks are those of phantoms, moved and blurred so that no two volumes are the same; a hundred
test cases are planted among the volumes and must be found. Run from the repository's root:

    python tests/performance/audit.py [VOLUMES] [TESTS]
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import numpy as np

from medssl_bench.audit.fingerprint import Fingerprint, fingerprint
from medssl_bench.audit.matching import Index
from medssl_bench.data.phantoms import PhantomSource, phantom_seeds

SOURCES = 40
PLANTED = 100
CHUNK = 500
"""Volumes that are made at a time, outside the time measured."""


def main(volumes: int = 10_000, tests: int = 500) -> None:
    """Time index and matching, not the making of volumes; say what was found and the memory held.

    Wall and processor time of this process, for the machine may be busy with something else.
    """
    clock = Clock()
    with clock:
        real = [
            fingerprint(PhantomSource(s, "CT").read()) for s in phantom_seeds(("audit",), SOURCES)
        ]
    marks = np.mean([len(one) for one in real])
    print(f"fingerprint of a phantom: {clock.cpu / SOURCES:.2f} s of a core, {marks:.0f} marks")
    made = [blurred(real[n % SOURCES], n) for n in range(tests)]
    planted = min(PLANTED, tests, volumes)
    step = volumes // planted

    def volume(n: int) -> Fingerprint:
        if n % step == 0 and n // step < planted:
            return made[n // step]
        return blurred(real[n % SOURCES], 10**6 + n)

    clock = Clock()
    with clock:
        index = Index(made)
    found = []
    for start in range(0, volumes, CHUNK):
        chunk = [volume(n) for n in range(start, min(start + CHUNK, volumes))]
        with clock:
            matches = [*index.matches(chunk)]
        found += [(start + match.other, match.test) for match in matches]
    right = sum(other == test * step for other, test in found)
    print(
        f"{volumes} volumes against {tests}: {clock.wall:.1f} s, {clock.cpu:.1f} s of a core;"
        f" {right} of {planted} planted found, {len(found) - right} others;"
        f" peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


@dataclass
class Clock:
    """Adds up the seconds spent inside its ``with`` blocks."""

    wall: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> None:
        self.wall -= time.perf_counter()
        self.cpu -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


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
