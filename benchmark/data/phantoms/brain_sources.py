"""Brain phantoms as sources of volumes: sites with scanners and protocols, and what they lack."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.phantoms.acquisition import Acquisition
from medssl_bench.data.phantoms.brain import Grade, intracranial, layers
from medssl_bench.data.phantoms.brain_signals import CONTRASTS, Protocol, looks
from medssl_bench.data.phantoms.fields import Grid, generator
from medssl_bench.data.phantoms.frame import Frame
from medssl_bench.data.phantoms.render import coil, paint, textures
from medssl_bench.data.volume import Header, Volume
from medssl_bench.digest import digest

GENERATOR_VERSION = 1
"""Raised whenever a seed would give other voxels; it is part of every phantom's digest."""

REGIONS = {"core": 1, "oedema": 2, "enhancing": 3}
"""Label ids, as BraTS has them since 2023."""


@dataclass(frozen=True)
class Site:
    """What is the same of all scans of one hospital."""

    contrasts: tuple[str, ...]
    """What it acquires of everybody, or may acquire where ``lacks`` is not 0."""
    noise: float
    """Standard deviation, in units of healthy parenchyma."""
    bias: float
    """Standard deviation of the logarithm of the coil's bias field."""
    voxel: tuple[float, float]
    """mm in the plane, and between slices."""
    layout: str
    """Stored orientation: the direction in which each array axis grows."""
    lacks: float = 0.0
    """Chance that a scan lacks a contrast; two are always there."""


SITES: dict[str, Site] = {
    "north": Site(("T1", "T1c", "T2", "FLAIR"), 0.025, 0.10, (2.5, 2.5), "LPS"),
    "east": Site(("T1", "T1c", "T2", "FLAIR", "DWI", "ADC"), 0.035, 0.18, (2.3, 3.0), "RAS"),
    "south": Site(("T1", "T2", "PD", "MRA"), 0.030, 0.14, (2.7, 2.7), "PSR"),
    "west": Site(CONTRASTS, 0.045, 0.25, (2.4, 3.4), "LAS", lacks=0.4),
}
"""Those of paper 003's corpora: BraTS, UCSF-PDGM and IXI; and one of which anything may be
missing."""


def contrasts_of(seed: int, site: str) -> tuple[str, ...]:
    """Return the contrasts that a subject's exam at a site has, two or more."""
    place = SITES[site]
    rng = generator(seed, "brain", "exam")
    order = rng.permutation(len(place.contrasts))
    kept = {*order[:2], *(i for i in order[2:] if rng.random() >= place.lacks)}
    return tuple(name for i, name in enumerate(place.contrasts) if i in kept)


@dataclass(frozen=True)
class BrainSource:
    """One contrast of a subject's exam, or its label; all lie on one grid."""

    seed: int
    site: str
    part: str
    """A contrast or ``label``."""
    grade: Grade = "none"

    def header(self) -> Header:
        """Return the geometry without rendering."""
        return _acquisition(self.seed, self.site, "T1").header()

    def read(self) -> Volume:
        """Render the exam (or take the last rendering): int16 image or uint8 label."""
        return Volume(
            _exam(self.seed, self.site, self.grade)[self.part].copy(), self.header().affine
        )

    def digest(self) -> str:
        """Digest of the recipe and the generator's version."""
        recipe = ["brain", GENERATOR_VERSION, str(self.seed), self.site, self.part, self.grade]
        return digest(recipe)


def _acquisition(seed: int, site: str, contrast: str) -> Acquisition:
    """Return how a contrast of an exam is scanned; the grid is that of the exam."""
    place, rng = SITES[site], generator(seed, "brain", "grid")
    step, thick = place.voxel
    reach = np.array([76.0, 94.0, 82.0]) + rng.uniform(0, 6, 3)
    shape = [
        math.ceil(2 * side / size) for side, size in zip(reach, (step, step, thick), strict=True)
    ]
    middle = rng.uniform(-3, 3, 3)
    x, y, z = (float(value) for value in middle - reach)
    grid = Grid((shape[0], shape[1], shape[2]), (step, step, thick), (x, y, z - 6))
    spread = generator(seed, "brain", "coil", contrast)
    scale = 1000.0 if contrast == "ADC" else float(np.exp(spread.uniform(5, 7.3)))
    bias = 0.0 if contrast == "ADC" else place.bias * float(spread.uniform(0.6, 1.4))
    noise = place.noise * float(spread.uniform(0.7, 1.4))
    return Acquisition("MR", grid, place.layout, contrast, noise, 0.06, bias, scale)


@lru_cache(maxsize=2)
def _exam(seed: int, site: str, grade: Grade) -> dict[str, NDArray[np.generic]]:
    """Render every contrast that the site acquires, and the label."""
    frame = Frame(seed, _acquisition(seed, site, "T1").grid)
    painted = [*layers(frame, grade)]
    brain = frame.cover(intracranial(frame)) > 0.5
    fields = textures(seed, frame.grid)
    protocol = Protocol.draw(generator("brain", "site", site))
    exam: dict[str, NDArray[np.generic]] = {}
    for contrast in SITES[site].contrasts:
        taken = _acquisition(seed, site, contrast)
        tissues = looks(contrast, protocol, generator(seed, "brain", "tissues", contrast))
        image, label = paint(painted, tissues, fields, REGIONS, frame.grid)
        image = coil(image, taken, generator(seed, "brain", "noise", contrast))
        exam[contrast] = taken.store(np.rint(np.where(brain, image, 0)).astype(np.int16))
        exam["label"] = taken.store(label)
    return exam
