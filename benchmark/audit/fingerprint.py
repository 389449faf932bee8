"""A fingerprint of a volume's content: landmarks that survive resampling, cropping and rescaling.

Landmarks are extrema of a difference of Gaussians on grids of 1, 2 and 4 mm, each described by the
smoothed voxels around it: as in 3D SIFT-Rank, by which Chauvin et al. (NeuroImage 2020) found the
same heads in public collections under other names. Only shape decides: a descriptor has zero mean
and unit length, so that brightness and contrast drop out, and is turned into an orientation of its
own, so that axes may be flipped or exchanged. Of the header only the voxel size is used.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import dctn

from medssl_bench.data.volume import Volume
from medssl_bench.errors import DataError

VERSION = 1
"""Raised whenever the same voxels would give another fingerprint."""

GRIDS_MM = (1.0, 2.0, 4.0)
FINEST_VOXELS = 4_000_000
"""Voxels on a grid above which it is left out, but for the two coarse ones: the grid of 1 mm is for
small volumes, such as the 35 x 50 x 35 mm around a hippocampus."""
LANDMARKS = 128
"""The strongest kept on each grid, of the whole and of each tissue."""
TISSUES = 2
"""The commonest that are looked at."""
SIGMAS = (1.5, 2.4)
"""Voxels of the grid; landmarks are extrema of the difference of these two Gaussians."""
PATCH = (np.arange(6) - 2.5) * 1.8
"""Where a landmark's surroundings are sampled along each axis, in voxels of the grid."""
TERMS = 64
"""Numbers kept of each descriptor: the lowest frequencies of its 216 samples."""
MARGIN = 3
"""Voxels at the border where no landmark is looked for."""
WEAKEST = 1e-3
"""Least strength, as a share of the span of squeezed intensities: below it is rounding."""
BINS = 200
"""Of the histogram of tissue."""


@dataclass(frozen=True)
class Fingerprint:
    """The landmarks of a volume, ``N`` in all."""

    places: NDArray[np.float32]
    """``(N, 3)`` in mm along the array's axes, from its corner."""
    turns: NDArray[np.int8]
    """``(N, 3, 3)`` signed permutation from the array's axes to the descriptor's."""
    grids: NDArray[np.int8]
    """``(N,)`` index into ``GRIDS_MM``."""
    descriptors: NDArray[np.int8]
    """``(N, TERMS)``, 127 times a vector of length 1."""

    def __len__(self) -> int:
        return len(self.places)

    def to_bytes(self) -> bytes:
        """Return the content of a ``.npz`` file."""
        stream = io.BytesIO()
        np.savez(
            stream,
            places=self.places,
            turns=self.turns,
            grids=self.grids,
            descriptors=self.descriptors,
        )
        return stream.getvalue()


def load_fingerprint(path: Path) -> Fingerprint:
    """Read what ``to_bytes`` wrote; raises DataError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = Fingerprint(**{name: arrays[name] for name in Fingerprint.__annotations__})
        if found.descriptors.shape != (len(found), TERMS):
            raise ValueError("its arrays do not fit together")
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types between them
        raise DataError(f"{path}: damaged fingerprint ({error}); remove it") from error
    return found


def fingerprint(volume: Volume) -> Fingerprint:
    """Find and describe the landmarks of a volume ``(X, Y, Z)``; voxels that are no number are 0.

    A volume of few voxels or of one intensity has none: it cannot be told from another.
    """
    look = Look(volume)
    parts = []
    for grid in grids_of(volume):
        array, sides = look.on_grid(grid)
        for scaled in look.scaled(array):
            parts.append(_landmarks(scaled, sides, GRIDS_MM.index(grid)))
    return joined(parts)


def _none() -> Fingerprint:
    """Return the fingerprint of a volume without landmarks."""
    return Fingerprint(
        np.empty((0, 3), np.float32),
        np.empty((0, 3, 3), np.int8),
        np.empty(0, np.int8),
        np.empty((0, TERMS), np.int8),
    )


def joined(parts: Sequence[Fingerprint]) -> Fingerprint:
    """Return the landmarks of all, one after another."""
    return Fingerprint(
        *(
            np.concatenate([getattr(part, name) for part in (_none(), *parts)])
            for name in Fingerprint.__annotations__
        )
    )


def grids_of(volume: Volume) -> tuple[float, ...]:
    """Return the grids (mm) on which a volume is looked at, the finest first."""
    size = volume.array.size * float(np.prod(volume.header.spacing))
    return tuple(grid for grid in GRIDS_MM if grid >= 2 or size / grid**3 <= FINEST_VOXELS)


class Look:
    """A volume as landmarks see it: on cubic voxels, as a whole and one tissue at a time.

    The whole is the same in any part of a scan, a tissue in any window of intensities.
    """

    def __init__(self, volume: Volume) -> None:
        """Find the volume's middle, spread and tissues."""
        array = np.asarray(volume.array, dtype=np.float32)
        self.array = np.nan_to_num(array, posinf=0.0, neginf=0.0)
        self.spacing = volume.header.spacing
        coarse, _ = self.on_grid(2.0)
        self.middle, self.spread = _middle(coarse)
        self.tissues = _tissues(coarse)

    def on_grid(self, grid: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the voxels on one grid and their sides in mm."""
        return _on_grid(self.array, self.spacing, grid)

    def scaled(self, array: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the voxels of a grid scaled in each way; none where all are alike."""
        if not self.spread:
            return []
        whole = np.arcsinh((array - self.middle) / self.spread).astype(np.float32)
        return [whole, *(_squeezed(array, *tissue) for tissue in self.tissues)]

    def reliefs(self, grid: float) -> tuple[list[NDArray[np.float32]], NDArray[np.float64]]:
        """Return what stands out in each way on one grid, and the sides of voxels in mm."""
        array, sides = self.on_grid(grid)
        return [_smoothed(scaled)[1] for scaled in self.scaled(array)], sides


def _on_grid(
    array: NDArray[np.float32], spacing: tuple[float, float, float], grid: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Resample to voxels of about ``grid`` mm, edges aligned, smoothed first where it coarsens.

    Also returns the voxels' sides in mm: a whole number of them fills the volume.
    """
    import torch
    from torch.nn import functional as F

    size = [max(1, round(n * step / grid)) for n, step in zip(array.shape, spacing, strict=True)]
    blur = [max(0.0, 0.5 * (grid / step - 1)) for step in spacing]
    smooth = ndimage.gaussian_filter(array, blur, truncate=3.0) if any(blur) else array
    volume = torch.from_numpy(np.ascontiguousarray(smooth))[None, None]
    result = F.interpolate(volume, size=size, mode="trilinear", align_corners=False)
    return result[0, 0].numpy(), np.array(array.shape) * spacing / size


def _middle(array: NDArray[np.float32]) -> tuple[float, float]:
    """Return the median of what is not background, and its quartile distance."""
    low, high = np.percentile(array, (5, 95))
    inside = array[array > low + 0.05 * (high - low)]
    first, middle, last = np.percentile(inside if inside.size else array, (25, 50, 75))
    return float(middle), float(last - first)


def _tissues(array: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return the commonest values above Otsu's threshold and the half widths of their peaks.

    They are the same tissues after any linear change and in any window that shows them.
    """
    from scipy.signal import find_peaks, peak_widths
    from skimage.filters import threshold_otsu

    low, high = np.percentile(array, (1, 99))
    if not high > low:
        return []
    body = array[array > threshold_otsu(array.clip(low, high)[::2, ::2, ::2].ravel())]
    body = body[(body > array.min()) & (body < array.max())]  # where a window cuts, values pile up
    if body.size < 100:
        return []
    first, last = np.percentile(body, (1, 99))
    counts, edges = np.histogram(body, BINS, (first, last))
    smooth = np.pad(ndimage.gaussian_filter1d(counts.astype(float), 3), 1)
    peaks, _ = find_peaks(smooth, prominence=0.05 * smooth.max())
    peaks = peaks[np.argsort(-smooth[peaks], kind="stable")][:TISSUES]
    step = float(edges[1] - edges[0])
    widths = peak_widths(smooth, peaks)[0] * step / 2
    return [
        (float(edges[0]) + (peak - 0.5) * step, float(max(width, step)))
        for peak, width in zip(peaks, widths, strict=True)
    ]


def _squeezed(array: NDArray[np.float32], middle: float, width: float) -> NDArray[np.float32]:
    """Make flat what is far from one tissue, so that no intensity window matters."""
    return np.tanh((array - middle) / (2 * width)).astype(np.float32)


def _landmarks(array: NDArray[np.float32], sides: NDArray[np.float64], grid: int) -> Fingerprint:
    """Return the strongest landmarks of a volume on one grid, whose voxels have these sides."""
    near, response = _smoothed(array)
    found = np.abs(response) > WEAKEST
    found &= (response == ndimage.maximum_filter(response, 3)) | (
        response == ndimage.minimum_filter(response, 3)
    )
    inner = (slice(MARGIN, -MARGIN),) * 3
    voxels = np.argwhere(found[inner]) + MARGIN
    strength = np.abs(response[tuple(voxels.T)])
    voxels = voxels[np.argsort(-strength, kind="stable")[:LANDMARKS]]
    places = voxels + _offsets(response, voxels)
    patches, turns = _upright(_patches(near, places))
    return Fingerprint(
        ((places + 0.5) * sides).astype(np.float32),
        turns,
        np.full(len(places), grid, dtype=np.int8),
        _described(patches),
    )


def _smoothed(
    array: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the array smoothed, and less its stronger smoothing: what stands out of it."""
    near = ndimage.gaussian_filter(array, SIGMAS[0], truncate=3.5)
    return near, near - ndimage.gaussian_filter(array, SIGMAS[1], truncate=3.5)


def _offsets(response: NDArray[np.float32], voxels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return where between voxels each extremum lies: a parabola's peak along each axis."""
    offsets = np.zeros(voxels.shape)
    for axis, step in enumerate(np.eye(3, dtype=np.int64)):
        before, at, after = (response[tuple((voxels + k * step).T)] for k in (-1, 0, 1))
        bend = before - 2 * at + after
        curved = np.abs(bend) > 1e-9
        offsets[curved, axis] = 0.5 * (before - after)[curved] / bend[curved]
    return offsets.clip(-0.5, 0.5)


def _patches(near: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sample ``(N, 6, 6, 6)`` around each place, with zero mean."""
    around = np.stack(np.meshgrid(PATCH, PATCH, PATCH, indexing="ij"), axis=-1)
    points = places[:, None, None, None] + around
    values = ndimage.map_coordinates(near, points.reshape(-1, 3).T, order=1, mode="nearest")
    patches = values.reshape(-1, *around.shape[:3])
    result: NDArray[np.float32] = patches - patches.mean((1, 2, 3), keepdims=True)
    return result


def _upright(patches: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Turn each patch so that it is brighter ahead on every axis, and most so on the first."""
    slopes = np.stack(
        [
            np.einsum("nxyz,x->n", patches, PATCH),
            np.einsum("nxyz,y->n", patches, PATCH),
            np.einsum("nxyz,z->n", patches, PATCH),
        ],
        axis=1,
    )
    order = np.argsort(-np.abs(slopes), axis=1, kind="stable")
    signs = np.where(slopes < 0, -1, 1)
    turned = np.empty_like(patches)
    turns = np.zeros((len(patches), 3, 3), dtype=np.int8)
    for index, patch in enumerate(patches):
        turned[index] = patch[tuple(slice(None, None, sign) for sign in signs[index])].transpose(
            order[index]
        )
        turns[index, range(3), order[index]] = signs[index, order[index]]
    return turned, turns


def _described(patches: NDArray[np.float32]) -> NDArray[np.int8]:
    """Keep the lowest frequencies of each patch ``(N, 6, 6, 6)``, as numbers of one byte."""
    terms = dctn(patches, axes=(1, 2, 3), norm="ortho").reshape(-1, 216)[:, _LOWEST]
    length = np.linalg.norm(terms, axis=1, keepdims=True)
    unit = np.divide(terms, length, out=np.zeros_like(terms), where=length > 0)
    return np.rint(127 * unit).astype(np.int8)


_LOWEST = np.argsort(np.indices((6, 6, 6)).sum(0).ravel(), kind="stable")[1 : TERMS + 1]
"""Without the first, which is the mean."""
