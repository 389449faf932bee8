"""What tissues of the brain look like on eight MR contrasts: relaxation times and signal equations.

Times are near those published for 3 T, diffusion is that at body temperature; all are round
numbers. Equations are the steady-state ones of spin echo, inversion recovery, diffusion weighting
and spoiled gradient echo (Bernstein, King, Zhou, *Handbook of MRI Pulse Sequences*, 2004).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medssl_bench.data.phantoms.render import Look

CONTRASTS = ("T1", "T1c", "T2", "FLAIR", "DWI", "ADC", "PD", "MRA")

RELAXIVITY = 4.5
"""Of gadolinium: increase of 1 / T1 per concentration, in 1/s per mmol/l."""


@dataclass(frozen=True)
class Tissue:
    """Magnetic properties of one tissue."""

    t1: float
    """ms."""
    t2: float
    """ms."""
    protons: float
    """Density, of water."""
    adc: float
    """Apparent diffusion coefficient, 1e-3 mm^2/s."""
    medium: float = 0.0
    """Contrast medium after its injection, mmol/l."""
    flows: bool = False


TISSUES: dict[str, Tissue] = {
    "white_matter": Tissue(830, 75, 0.70, 0.75),
    "grey_matter": Tissue(1330, 95, 0.82, 0.85, 0.01),
    "deep_grey": Tissue(1130, 80, 0.78, 0.75, 0.01),
    "csf": Tissue(4000, 1500, 1.00, 3.00),
    "artery": Tissue(1650, 150, 0.85, 1.60, 0.80, flows=True),
    "oedema": Tissue(1500, 150, 0.88, 1.45, 0.01),
    "tumour": Tissue(1600, 170, 0.90, 1.30, 0.01),
    "enhancing": Tissue(1450, 120, 0.86, 1.05, 0.60),
    "necrosis": Tissue(2300, 260, 0.95, 2.00, 0.01),
}


@dataclass(frozen=True)
class Protocol:
    """How a site sets its scanner."""

    stretch: Mapping[str, float]
    """Contrast -> factor on its echo, repetition and inversion time."""

    @staticmethod
    def draw(rng: np.random.Generator) -> Protocol:
        """Draw the factors of a site; sites differ by up to a seventh."""
        return Protocol({name: float(rng.uniform(0.87, 1.15)) for name in CONTRASTS})


def signal(contrast: str, tissue: Tissue, protocol: Protocol) -> float:
    """Return the signal of a tissue, of fully relaxed water; for ADC the coefficient itself."""
    k = protocol.stretch[contrast]
    t1, t2, protons = tissue.t1, tissue.t2, tissue.protons
    if contrast == "T1c":
        t1 = 1 / (1 / t1 + RELAXIVITY * tissue.medium / 1000)
    if contrast == "ADC":
        return tissue.adc
    if contrast in ("T1", "T1c"):
        return protons * _relaxed(600 * k, t1) * math.exp(-12 * k / t2)
    if contrast == "PD":
        return protons * _relaxed(2800 * k, t1) * math.exp(-18 * k / t2)
    if contrast == "T2":
        return protons * _relaxed(4500 * k, t1) * math.exp(-100 * k / t2)
    if contrast == "FLAIR":
        # The inversion time nulls CSF at any repetition time (CSF has one T1).
        repeat, water = 9000 * k, TISSUES["csf"].t1
        invert = water * (math.log(2) - math.log1p(math.exp(-repeat / water)))
        inverted = 1 - 2 * math.exp(-invert / t1) + math.exp(-repeat / t1)
        return protons * abs(inverted) * math.exp(-115 * k / t2)
    if contrast == "DWI":  # b = 1000 s/mm^2
        return protons * _relaxed(5000 * k, t1) * math.exp(-80 * k / t2) * math.exp(-tissue.adc)
    flip = math.radians(20)  # time of flight: what flows in is not saturated yet
    full = protons * math.sin(flip) * math.exp(-4 * k / t2)
    if tissue.flows:
        return full
    rest = math.exp(-25 * k / t1)
    return full * (1 - rest) / (1 - math.cos(flip) * rest)


def looks(contrast: str, protocol: Protocol, rng: np.random.Generator) -> dict[str, Look]:
    """Return a subject's tissues on one contrast, in units of its brighter healthy parenchyma.

    Subjects vary by 4 % in each tissue.
    """
    values = {name: signal(contrast, tissue, protocol) for name, tissue in TISSUES.items()}
    brightest = max(values["white_matter"], values["grey_matter"])
    found = {"air": Look(0.0, (0.0, 0.0, 0.0))}
    for name, value in values.items():
        mean = value / brightest * (1 + 0.04 * float(rng.standard_normal()))
        found[name] = Look(mean, (0.03 * mean, 0.03 * mean, 0.02 * mean))
    return found


def _relaxed(repeat: float, t1: float) -> float:
    return 1 - math.exp(-repeat / t1)
