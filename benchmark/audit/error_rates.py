"""Both error rates of ``bench data audit``: copies that are missed, patients that are confused.

Each volume is changed in five ways and looked for among all of them: every NIfTI below the folders,
or so many phantoms of the CT kind:

    python -m medssl_bench.audit.error_rates FOLDER...
    python -m medssl_bench.audit.error_rates 40
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from medssl_bench.audit.fingerprint import Fingerprint, fingerprint
from medssl_bench.audit.matching import CORRELATED, Index, Match, correlation
from medssl_bench.data.orientation import to_ras
from medssl_bench.data.phantoms import PhantomSource, phantom_seeds
from medssl_bench.data.reading import FileSource
from medssl_bench.data.volume import Volume

WORKING = np.array([1.5, 1.5, 2.0])


def resampled(volume: Volume) -> Volume:
    """Resample to 1.5 x 1.5 x 2 mm."""
    factors = np.array(volume.header.spacing) / WORKING
    array = ndimage.zoom(volume.array.astype(np.float32), factors, order=1)
    return Volume(array, np.diag([*WORKING, 1.0]))


def cropped(volume: Volume, low: float = 0.2, high: float = 0.8) -> Volume:
    """Keep the middle 60 % of each side."""
    where = tuple(slice(int(n * low), int(n * high)) for n in volume.array.shape)
    return Volume(volume.array[where], volume.affine)


def windowed(volume: Volume) -> Volume:
    """Clip to [-175, 250] HU, or to the 5th and 95th percentile, and scale to [0, 1]."""
    array = volume.array.astype(np.float32)
    low, high = (-175, 250) if array.min() < -500 else np.percentile(array, (5, 95))
    return Volume(np.clip((array - low) / (high - low), 0, 1), volume.affine)


def turned(volume: Volume) -> Volume:
    """Exchange and flip axes, as a format that knows no orientation does."""
    sides = np.array(volume.header.spacing)[[2, 0, 1]]
    array = volume.array[::-1, :, ::-1].transpose(2, 0, 1)
    return Volume(array, np.diag([*sides, 1.0]))


def everything(volume: Volume) -> Volume:
    """All of it: 1.5 x 1.5 x 2 mm, 22 % of the volume, windowed, mirrored."""
    part = windowed(cropped(resampled(volume), 0.15, 0.75))
    return Volume(part.array[:, ::-1], part.affine)


CHANGES: dict[str, Callable[[Volume], Volume]] = {
    "resampled": resampled,
    "cropped to 22 %": cropped,
    "windowed": windowed,
    "axes turned": turned,
    "all at once": everything,
}


def main(words: list[str]) -> None:
    """Print misses and confusions for each change."""
    if not (words and words[0].isdigit()):
        folders = [Path(word) for word in words]
        files = sorted({file for folder in folders for file in folder.rglob("*.nii*")})
        names = [str(file) for file in files]
        sources: list[FileSource] | list[PhantomSource] = [FileSource(file) for file in files]
    else:
        seeds = phantom_seeds(("audit",), int(words[0]))
        names = [f"phantom {number}" for number in range(len(seeds))]
        sources = [PhantomSource(seed, "CT") for seed in seeds]

    @lru_cache(maxsize=48)
    def read(number: int) -> Volume:
        volume = to_ras(sources[number].read())
        sides = volume.header.spacing
        return Volume(np.ascontiguousarray(volume.array), np.diag([*sides, 1.0]))

    whole = []
    parts: dict[str, list[Fingerprint]] = {name: [] for name in CHANGES}
    for number in range(len(names)):
        volume = read(number)
        whole.append(fingerprint(volume))
        for name, change in CHANGES.items():
            parts[name].append(fingerprint(change(volume)))
    index = Index(whole)
    pairs = len(names) * (len(names) - 1)
    for name, change in CHANGES.items():

        @lru_cache(maxsize=1)
        def changed(number: int, change: Callable[[Volume], Volume] = change) -> Volume:
            return change(read(number))

        def is_one(match: Match, changed: Callable[[int], Volume] = changed) -> bool:
            if match.certain:
                return True
            found = correlation(read(match.test), changed(match.other), match)
            return found is not None and found >= CORRELATED

        candidates = sorted(index.matches(parts[name]), key=lambda match: match.other)
        matches = [match for match in candidates if is_one(match)]
        found = {match.test for match in matches if match.test == match.other}
        others = [match for match in matches if match.test != match.other]
        confused = f"{len(others)} of {pairs} pairs of others taken for one scan"
        print(f"{name}: {len(names) - len(found)} of {len(names)} missed, {confused}", flush=True)
        for number in sorted({*range(len(names))} - found):
            print(f"  missed: {names[number]}")
        for match in others:
            print(f"  taken for one: {names[match.test]} and {names[match.other]},"
                  f" {match.landmarks} landmarks")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
