"""Where a crop is taken: pure geometry, every choice from the generator given.

Positions are the crop's first voxel on the working grid. Along an axis shorter than the crop the
volume is padded on both sides alike, so the start is negative there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Start = tuple[int, int, int]
Triple = Sequence[int]

TRIES = 10
"""Random positions tried for a crop that is to hold no foreground."""


class Sampled(Protocol):
    """What crop sampling needs to know of a prepared case."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Working grid."""

    @property
    def foreground(self) -> Mapping[int, NDArray[np.integer]]:
        """Voxels ``(N, 3)`` of every class present."""


def sample_start(
    prepared: Sampled,
    size: Triple,
    rng: np.random.Generator,
    positive_share: float = 0.5,
    *,
    clear: bool = False,
) -> Start:
    """Take a positive crop with probability ``positive_share``, otherwise a random one.

    A positive crop lies around a foreground voxel of a class drawn evenly from those present, so
    small organs and tumours are met as often as large ones. A case without foreground gives random
    crops only. With ``clear``, the others are to be background (the 1:1 tumour:background crops of
    paper 004): the first of ``TRIES`` positions that holds no recorded foreground voxel, or else
    the one that holds the fewest.
    """
    present = {name: voxels for name, voxels in prepared.foreground.items() if len(voxels)}
    if present and rng.random() < positive_share:
        voxels = present[sorted(present)[rng.integers(len(present))]]
        return centred_start(prepared.shape, size, voxels[rng.integers(len(voxels))], rng)
    if not (clear and present):
        return random_start(prepared.shape, size, rng)
    every = np.concatenate(list(present.values()))
    fewest, best = None, random_start(prepared.shape, size, rng)
    for attempt in range(TRIES):
        start = random_start(prepared.shape, size, rng) if attempt else best
        inside = np.all((every >= start) & (every < np.add(start, size)), axis=1).sum()
        if fewest is None or inside < fewest:
            fewest, best = inside, start
        if inside == 0:
            break
    return best


def random_start(shape: Triple, size: Triple, rng: np.random.Generator) -> Start:
    """Draw a position evenly from all where the crop lies inside the volume."""
    x, y, z = (
        int(rng.integers(0, side - crop + 1)) if side > crop else _padded(side, crop)
        for side, crop in zip(shape, size, strict=True)
    )
    return x, y, z


def nearby_start(
    shape: Triple, size: Triple, rng: np.random.Generator, near: Start, shift: float
) -> Start:
    """Draw evenly from the positions inside at most ``shift`` crop sides from ``near`` per axis."""
    starts = []
    for side, crop, place in zip(shape, size, near, strict=True):
        far = round(shift * crop)
        low, high = max(place - far, 0), min(place + far, side - crop)
        starts.append(int(rng.integers(low, high + 1)) if side > crop else _padded(side, crop))
    x, y, z = starts
    return x, y, z


def centred_start(
    shape: Triple,
    size: Triple,
    centre: Triple | NDArray[np.integer],
    rng: np.random.Generator | None = None,
    jitter: float = 0.25,
) -> Start:
    """Centre the crop on a voxel, moved by up to ``jitter`` of its size, inside the volume.

    The voxel stays in the crop for ``jitter`` below one half. Without ``rng`` nothing is moved.
    """
    start = []
    for side, crop, middle in zip(shape, size, centre, strict=True):
        reach = min(int(crop * jitter), (crop - 1) // 2)
        moved = int(middle) - crop // 2 + (int(rng.integers(-reach, reach + 1)) if rng else 0)
        start.append(min(max(moved, 0), side - crop) if side > crop else _padded(side, crop))
    return start[0], start[1], start[2]


def _padded(side: int, crop: int) -> int:
    """Return the start that pads an axis shorter than the crop on both sides alike."""
    return -((crop - side) // 2)
