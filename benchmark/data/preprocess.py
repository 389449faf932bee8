"""From a RAS volume to the network's grid and range, and from its probabilities back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medssl_bench.data.grid import edge_aligned_affine, nearest_indices, working_shape
from medssl_bench.data.volume import Volume
from medssl_bench.errors import CaseError, DataError
from medssl_bench.task import Intensity, Preprocessing

Shape = tuple[int, int, int]


def preprocess_image(volume: Volume, settings: Preprocessing) -> Volume:
    """Scale a RAS volume to [0, 1] and resample it, trilinear with voxel edges aligned.

    The window is found and applied on the native voxels, so metal does not bleed into its
    neighbours and percentiles do not depend on the working spacing.

    Returns:
        float32 ``(X, Y, Z)`` with the affine of the new grid.

    Raises:
        DataError: A voxel is not finite, or the window has no width (a constant image).
    """
    array = scale_intensity(volume.array, settings.intensity)
    shape = working_shape(volume.header, settings.spacing)
    if shape == array.shape:
        return Volume(array, volume.affine)
    affine = edge_aligned_affine(volume.affine, volume.header.shape, shape)
    grid = torch.from_numpy(array)[None, None]
    resampled = F.interpolate(grid, size=shape, mode="trilinear", align_corners=False)
    return Volume(resampled[0, 0].numpy(), affine)


def scale_intensity(array: NDArray[np.generic], intensity: Intensity) -> NDArray[np.float32]:
    """Map [low, high] to [0, 1] and clip, as a new float32 array ``(X, Y, Z)`` in C order."""
    scaled = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(scaled.sum(dtype=np.float64)) and not np.isfinite(scaled).all():
        count = int(scaled.size - np.isfinite(scaled).sum())
        raise DataError(f"{count} voxels are not finite numbers (NaN or infinite)")
    low, high = intensity.low, intensity.high
    if intensity.rule == "percentile":
        low, high = (float(value) for value in np.percentile(scaled, (low, high)))
    if not high > low:
        raise DataError(
            f"the {intensity.rule} window [{low:g}, {high:g}] has no width"
            " (a constant image, or low and high exchanged)"
        )
    scaled -= np.float32(low)
    scaled *= np.float32(1.0 / (high - low))
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def preprocess_label(volume: Volume, shape: Shape) -> Volume:
    """Resample a RAS label map to ``shape``, nearest neighbour with voxel edges aligned."""
    native = volume.header.shape
    if native == shape:
        return volume
    picks = [nearest_indices(old, new) for old, new in zip(native, shape, strict=True)]
    affine = edge_aligned_affine(volume.affine, native, shape)
    return Volume(volume.array[np.ix_(*picks)], affine)


def restore_labels(
    probabilities: Tensor, native_shape: Shape, *, background: bool = True, slab: int = 8
) -> NDArray[np.uint8]:
    """Resample probabilities to the native grid and decide every voxel there.

    Trilinear interpolation is separable, so the first axis is interpolated for ``slab`` planes at
    a time and each class in turn, with a running argmax: memory does not grow with the number of
    classes times native voxels.

    Args:
        probabilities: ``(K, X, Y, Z)`` on the working grid, after softmax or sigmoid.
        native_shape: Of the RAS volume before resampling.
        background: Channel 0 is the background (softmax). If False, channels are classes 1 to K
            (sigmoid) and a voxel is background where none exceeds 0.5.
        slab: Native planes decided at a time.

    Returns:
        ``(X, Y, Z)`` of ``native_shape``, uint8; ties go to the lower class.

    Raises:
        CaseError: A probability is not finite.
    """
    if not torch.isfinite(probabilities.sum()) and not torch.isfinite(probabilities).all():
        raise CaseError("the network's probabilities are not finite (did the training diverge?)")
    names = range(len(probabilities)) if background else range(1, len(probabilities) + 1)
    first, second, weight = _linear_taps(probabilities.shape[1], native_shape[0])
    labels = np.empty(native_shape, dtype=np.uint8)
    for start in range(0, native_shape[0], slab):
        planes = slice(start, min(start + slab, native_shape[0]))
        upper = weight[planes].to(probabilities.device)[:, None, None]
        best = decided = None
        for name, channel in zip(names, probabilities, strict=True):
            low, high = channel[first[planes]].float(), channel[second[planes]].float()
            plane = torch.lerp(low, high, upper)[None]
            if plane.shape[2:] != native_shape[1:]:
                plane = F.interpolate(plane, native_shape[1:], mode="bilinear", align_corners=False)
            if best is None or decided is None:
                floor = 0.0 if background else 0.5
                best = torch.full_like(plane, floor)
                decided = torch.zeros_like(plane, dtype=torch.uint8)
            decided[plane > best] = name
            torch.maximum(best, plane, out=best)
        if decided is not None:
            labels[planes] = decided[0].cpu().numpy()
    return labels


def _linear_taps(old: int, new: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two source indices and the second one's weight for each of ``new`` samples."""
    place = ((torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5).clamp(0, old - 1)
    first = place.floor().long()
    second = (first + 1).clamp(max=old - 1)
    return first, second, (place - first).float()
