"""From layers of tissue to CT and MR volumes with their label map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.phantoms import anatomy
from medssl_bench.data.phantoms.acquisition import Acquisition
from medssl_bench.data.phantoms.fields import Field, Grid, generator, smooth_field
from medssl_bench.data.phantoms.findings import Finding
from medssl_bench.data.phantoms.frame import Layer
from medssl_bench.data.phantoms.tissues import PHASES, TISSUES, Tissue

SCALES = (5.0, 9.0, 20.0)
"""Correlation lengths (mm) of the fine, middle and coarse texture field."""


@dataclass(frozen=True)
class Look:
    """A tissue's mean value in one scan and the weight of each texture field."""

    mean: float
    texture: tuple[float, float, float]


def render(
    seed: int, taken: Acquisition, organs: Mapping[str, int], finding: Finding | None = None
) -> tuple[Field, NDArray[np.uint8]]:
    """Render image and label ``(X, Y, Z)`` of subject ``seed`` on the acquisition's RAS grid.

    ``organs`` maps class names to label ids; organs it lacks become background.
    """
    looks = ct_looks(seed, taken) if taken.modality == "CT" else mr_looks(seed, taken)
    layers = anatomy.layers(seed, taken.grid, finding)
    image, label = paint(layers, looks, textures(seed, taken.grid), organs, taken.grid)
    rng = generator(seed, taken.modality, "noise")
    if taken.modality == "CT":
        _put_table(image, label, taken, looks["table"])
        return _ct_detector(image, taken, rng), label
    return coil(image, taken, rng), label


def paint(
    layers: Iterable[Layer],
    looks: Mapping[str, Look],
    textures: tuple[Field, Field, Field],
    organs: Mapping[str, int],
    grid: Grid,
) -> tuple[Field, NDArray[np.uint8]]:
    """Paint layers over air; a voxel belongs to the last organ that takes half of it."""
    image = np.full(grid.shape, looks["air"].mean, np.float32)
    label = np.zeros(grid.shape, np.uint8)
    for layer in layers:
        look = looks[layer.tissue]
        value: Field | np.float32 = np.float32(look.mean)
        for weight, texture in zip(look.texture, textures, strict=True):
            if weight:
                value = value + np.float32(weight) * texture[layer.box]
        under = image[layer.box]
        under += layer.cover * (value - under)
        if layer.organ is not None:
            label[layer.box][layer.cover > 0.5] = organs.get(layer.organ, 0)
    return image, label


def ct_looks(seed: int, taken: Acquisition) -> dict[str, Look]:
    """HU of every tissue for this subject and contrast phase."""
    rng = generator(seed, "tissues")
    phase = PHASES.index(taken.contrast)
    steatosis = max(0.0, rng.normal(-4, 14))
    looks = {}
    for name, tissue in TISSUES.items():
        mean = tissue.hu[phase] + tissue.varies * rng.normal()
        if name == "liver":
            mean -= steatosis
        looks[name] = Look(mean, tissue.texture)
    return looks


def mr_looks(seed: int, taken: Acquisition) -> dict[str, Look]:
    """Signal (1 is bright) of every tissue for this subject and weighting."""
    rng = generator(seed, "tissues")
    mix = float(np.clip(abs(rng.normal(0, 0.12)), 0, 0.3))
    looks = {}
    for name, tissue in TISSUES.items():
        t1, t2 = tissue.mr
        near, far = (t1, t2) if taken.contrast.startswith("t1") else (t2, t1)
        mean = (1 - mix) * near + mix * far
        if taken.contrast == "t1_contrast":
            mean += 0.0028 * _uptake(tissue)
        if taken.contrast == "t2_fat_suppressed" and name in ("fat", "visceral_fat", "marrow"):
            mean *= 0.22
        mean *= 1 + 0.08 * rng.normal()
        scale = 0.006 * (mean + 0.15)
        f, m, c = tissue.texture
        cap = min(1.0, 25 / max(f + m + c, 1))
        looks[name] = Look(mean, (scale * cap * f, scale * cap * m, scale * cap * c))
    return looks


def _uptake(tissue: Tissue) -> float:
    return tissue.hu[2] - tissue.hu[0]


def textures(seed: int, grid: Grid) -> tuple[Field, Field, Field]:
    """Draw a subject's fine, middle and coarse texture field."""
    fine, middle, coarse = (
        smooth_field(generator(seed, "texture", scale), grid, scale) for scale in SCALES
    )
    return fine, middle, coarse


def _put_table(image: Field, label: NDArray[np.uint8], taken: Acquisition, look: Look) -> None:
    """Add the scanner's table: a curved plate that touches the back."""
    x, y, _ = taken.grid.axes
    inside = np.flatnonzero((image > -300).any(axis=(0, 2)))
    back = y[inside[0]] if len(inside) else y[0]
    curve = back - 6 + 0.0011 * x[:, None] ** 2
    plate = np.clip(1 - np.abs(y[None, :] - curve) / np.float32(taken.grid.spacing[1]), 0, 1)
    plate = plate * (np.abs(x[:, None]) < 190)
    free = (image < -700) & (label == 0)
    plate = np.where(free, plate[:, :, None], 0)
    image += plate * (np.float32(look.mean) - image)


def _ct_detector(image: Field, taken: Acquisition, rng: np.random.Generator) -> Field:
    """Blur by the point spread, then add noise that is a little correlated in the plane."""
    image = _blur(image, taken.blur)
    noise = _blur(rng.standard_normal(image.shape, dtype=np.float32), 0.12, axes=(0, 1))
    return np.clip(image + np.float32(taken.noise / 0.63) * noise, -1024, 3071)


def coil(image: Field, taken: Acquisition, rng: np.random.Generator) -> Field:
    """Blur, multiply by the coil's bias field, and add Rician noise."""
    image = np.maximum(_blur(image, taken.blur), 0)
    bias = np.exp(np.float32(taken.bias) * smooth_field(rng, taken.grid, 170.0))
    real = image * bias + np.float32(taken.noise) * rng.standard_normal(
        image.shape, dtype=np.float32
    )
    imaginary = np.float32(taken.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.float32(taken.gain) * np.sqrt(real * real + imaginary * imaginary)


def _blur(image: Field, share: float, axes: tuple[int, ...] = (0, 1, 2)) -> Field:
    """Give ``share`` of each voxel to each of its two neighbours along ``axes``."""
    for axis in axes:
        along = np.moveaxis(image, axis, 0)
        spread = along * np.float32(1 - 2 * share)
        spread[1:] += np.float32(share) * along[:-1]
        spread[:-1] += np.float32(share) * along[1:]
        spread[0] += np.float32(share) * along[0]
        spread[-1] += np.float32(share) * along[-1]
        image = np.moveaxis(spread, 0, axis)
    return image
