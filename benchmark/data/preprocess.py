"""From a RAS volume to the network's grid and range, and from its probabilities back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medssl_bench.data.grid import edge_aligned_affine, nearest_indices, working_shape
from medssl_bench.data.orientation import contiguous
from medssl_bench.data.volume import Volume
from medssl_bench.errors import DataError, DivergedError
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
    shape = settings.shape or working_shape(volume.header, settings.spacing)
    if shape == array.shape:
        return Volume(array, volume.affine)
    affine = edge_aligned_affine(volume.affine, volume.header.shape, shape)
    grid = torch.from_numpy(array)[None, None]
    resampled = F.interpolate(grid, size=shape, mode="trilinear", align_corners=False)
    return Volume(resampled[0, 0].numpy(), affine)


def scale_intensity(array: NDArray[np.generic], intensity: Intensity) -> NDArray[np.float32]:
    """Map [low, high] to [0, 1] and clip, as a new float32 array ``(X, Y, Z)`` in C order."""
    scaled: NDArray[np.float32] = contiguous(array, np.float32)
    if not np.isfinite(scaled.sum(dtype=np.float64)) and not np.isfinite(scaled).all():
        count = int(scaled.size - np.isfinite(scaled).sum())
        raise DataError(f"{count} voxels are not finite numbers (NaN or infinite); repair it")
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
    """Resample a RAS label map to ``shape``, nearest neighbour with voxel edges aligned.

    An axis at a time, the outermost first: whole planes and rows are then copied, if it is in C
    order.
    """
    native = volume.header.shape
    if native == shape:
        return volume
    array = volume.array
    for axis, (old, new) in enumerate(zip(native, shape, strict=True)):
        array = array.take(nearest_indices(old, new), axis)
    return Volume(array, edge_aligned_affine(volume.affine, native, shape))


def restore_labels(
    probabilities: Tensor, native_shape: Shape, *, background: bool = True, slab: int = 16
) -> NDArray[np.uint8]:
    """Resample probabilities to the native grid, class by class, and decide every voxel there.

    Trilinear with voxel edges aligned, a slab of native planes at a time with a running argmax, so
    memory grows neither with the classes nor with the native volume. A class is interpolated only
    where it can win: the winner is at least the mean over the classes, and an interpolated value
    never exceeds the voxels it comes from.

    Args:
        probabilities: ``(K, X, Y, Z)`` on the working grid, after softmax or sigmoid.
        native_shape: Of the RAS volume before resampling.
        background: Channel 0 is the background (softmax). If False, channels are classes 1 to K
            (sigmoid) and a voxel is background where none exceeds 0.5.
        slab: Native planes decided at a time.

    Returns:
        ``(X, Y, Z)`` of ``native_shape``, uint8; ties go to the lower class.

    Raises:
        DivergedError: A probability is not finite.
    """
    mean = probabilities.sum(0, dtype=torch.float32) / len(probabilities)
    if not torch.isfinite(mean).all():
        raise DivergedError(
            "the network's probabilities are not finite (did the training diverge?)"
        )
    # The margin covers rounding: a class is skipped only where it loses clearly.
    least = 0.999 * float(mean.min()) if background else 0.499
    taps_x, taps_y, taps_z = (
        Taps(old, new, probabilities.device)
        for old, new in zip(probabilities.shape[1:], native_shape, strict=True)
    )
    labels = np.empty(native_shape, dtype=np.uint8)
    for start in range(0, native_shape[0], slab):
        xs = slice(start, min(start + slab, native_shape[0]))
        source = slice(int(taps_x.first[xs][0]), int(taps_x.second[xs][-1]) + 1)
        size = (xs.stop - xs.start, *native_shape[1:])
        best = torch.full(size, 0.0 if background else 0.5, device=probabilities.device)
        decided = torch.zeros(size, dtype=torch.uint8, device=probabilities.device)
        for name, channel in enumerate(probabilities[:, source], start=0 if background else 1):
            can_win = (channel >= least).any(0)
            ys, zs = taps_y.touching(can_win.any(1)), taps_z.touching(can_win.any(0))
            if ys is None or zs is None:
                continue
            # The last axis first: the largest array is then made from whole contiguous planes.
            value = taps_y.along(taps_z.along(channel.float(), 2, zs), 1, ys)
            value = taps_x.along(value, 0, xs, offset=source.start)
            box = (slice(None), ys, zs)
            decided[box].masked_fill_(value > best[box], name)
            best[box] = torch.maximum(best[box], value)
        labels[xs] = decided.cpu().numpy()
    return labels


class Taps:
    """Linear interpolation along one axis: two source voxels and the second one's weight."""

    def __init__(self, old: int, new: int, device: torch.device) -> None:
        """Place ``new`` samples over ``old`` voxels, edges aligned, clamped at the border."""
        place = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5
        place = place.clamp(0, old - 1)
        first = place.floor().long()
        self.first = first.to(device)
        self.second = (first + 1).clamp(max=old - 1).to(device)
        self.weight = (place - first).float().to(device)

    def touching(self, marked: Tensor) -> slice | None:
        """Return the range of samples that read from the first to the last voxel marked."""
        places = marked.nonzero()
        if len(places) == 0:
            return None
        reads = (self.second >= places[0]) & (self.first <= places[-1])
        samples = reads.nonzero()
        if len(samples) == 0:
            return None
        return slice(int(samples[0]), int(samples[-1]) + 1)

    def along(self, values: Tensor, axis: int, samples: slice, offset: int = 0) -> Tensor:
        """Interpolate ``values``, which begin at source voxel ``offset``, along ``axis``."""
        low = values.index_select(axis, self.first[samples] - offset)
        high = values.index_select(axis, self.second[samples] - offset)
        shape = [1, 1, 1]
        shape[axis] = -1
        return torch.lerp(low, high, self.weight[samples].view(shape))
