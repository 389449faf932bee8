"""Phantoms as sources of volumes: the same face as a file, but made from a seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.phantoms.acquisition import Modality, acquire
from medssl_bench.data.phantoms.fields import generator
from medssl_bench.data.phantoms.findings import Finding
from medssl_bench.data.phantoms.render import render
from medssl_bench.data.volume import Header, Volume
from medssl_bench.digest import digest, seed_from

GENERATOR_VERSION = 2
"""Raised whenever a seed would give other voxels; it is part of every phantom's digest."""

_UPPER = (
    "liver",
    "spleen",
    "right_kidney",
    "left_kidney",
    "aorta",
    "stomach",
    "pancreas",
)
CLASSES: dict[Modality, dict[int, str]] = {
    "CT": dict(enumerate((*_UPPER, "bladder", "lesion"), start=1)),
    "MR": dict(enumerate((*_UPPER, "lesion"), start=1)),
}
"""Label ids and their names by modality."""


def phantom_seeds(words: Iterable[object], count: int) -> list[int]:
    """Derive the seeds of ``count`` subjects; other words give other subjects."""
    key = tuple(words)
    return [seed_from("phantom", *key, index) for index in range(count)]


@dataclass(frozen=True)
class PhantomSource:
    """The image or the label of one phantom; both come from one rendering."""

    seed: int
    modality: Modality
    part: Literal["image", "label"] = "image"
    finding: Finding | None = None

    def header(self) -> Header:
        """Return the geometry without rendering."""
        return acquire(self.seed, self.modality).header()

    def read(self) -> Volume:
        """Render the phantom (or take the last rendering): int16 image or uint8 label."""
        image, label = _rendered(self.seed, self.modality, self.finding)
        array = image if self.part == "image" else label
        return Volume(array.copy(), self.header().affine)

    def digest(self) -> str:
        """Digest of the recipe and the generator's version."""
        recipe = ["phantom", GENERATOR_VERSION, str(self.seed), self.modality, self.part]
        return digest([*recipe, self.finding] if self.finding else recipe)


@dataclass(frozen=True)
class NoiseSource:
    """The negative control: a CT phantom's geometry, its voxels independent of each other.

    Values are drawn from a mixture like a trunk CT's histogram, so only the anatomy is missing.
    """

    seed: int

    def header(self) -> Header:
        """Return the geometry of the phantom with this seed."""
        return acquire(self.seed, "CT").header()

    def read(self) -> Volume:
        """Draw every voxel (int16 HU) independently."""
        header = self.header()
        rng = generator(self.seed, "iid")
        kinds = rng.choice(4, size=header.shape, p=[0.40, 0.27, 0.28, 0.05])
        means = np.array([-1000, -100, 60, 300], np.float32)[kinds]
        spread = np.array([15, 20, 45, 150], np.float32)[kinds]
        hu = means + spread * rng.standard_normal(header.shape, dtype=np.float32)
        return Volume(_int16(hu), header.affine)

    def digest(self) -> str:
        """Digest of the recipe and the generator's version."""
        return digest(["noise", GENERATOR_VERSION, str(self.seed)])


@lru_cache(maxsize=2)
def _rendered(
    seed: int, modality: Modality, finding: Finding | None
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    taken = acquire(seed, modality)
    ids = {name: number for number, name in CLASSES[modality].items()}
    image, label = render(seed, taken, ids, finding)
    return taken.store(_int16(image)), taken.store(label)


def _int16(values: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(np.clip(values, -32768, 32767)).astype(np.int16)
