"""Which case and which crop a training step sees, as pure functions of (seed, step, slot).

Nothing depends on workers, processes or on what ran before, so a resumed run sees the same crops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from medssl_bench.data.crops import nearby_start, random_start, sample_start
from medssl_bench.digest import seed_from
from medssl_bench.method import Place

if TYPE_CHECKING:
    from medssl_bench.data.cache import Prepared

Size = tuple[int, int, int]


def keyed_rng(*words: object) -> np.random.Generator:
    """Return a generator keyed by words such as ``(seed, "crop", slot)``."""
    return np.random.Generator(np.random.Philox(seed_from(*words)))


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    return tuple(int(i) for i in keyed_rng(seed, "order", epoch).permutation(count))


def case_of(seed: int, slot: int, count: int) -> int:
    """Index of the case in global ``slot``; every epoch is a fresh permutation of all cases."""
    epoch, position = divmod(slot, count)
    return _order(seed, epoch, count)[position]


@dataclass(frozen=True)
class StepSlots(Sequence[range]):
    """The slots of steps ``first .. last - 1`` that fall to one of ``world`` processes.

    A step's ``batch`` slots are shared out in order, so that all processes together see the same
    crops whatever their number.
    """

    first: int
    last: int
    batch: int
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        """Return the number of steps."""
        return max(self.last - self.first, 0)

    def __getitem__(self, index: int) -> range:  # type: ignore[override]
        """Return the slots of the ``index``-th of these steps."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        share = self.batch // self.world
        start = (self.first + index) * self.batch + self.rank * share
        return range(start, start + share)


class UnlabelledCrops(Dataset[dict[str, Any]]):
    """Random crops of a corpus, by slot (``step * batch + position``)."""

    def __init__(
        self,
        volumes: Sequence[Prepared],
        size: Size,
        views: int,
        seed: int,
        shift: float | None = None,
    ) -> None:
        """Take ``views`` crops ``(C, D, H, W)`` of each drawn volume.

        The first lies anywhere, and so do the others, or at most ``shift`` crop sides from the
        first along each axis. A volume of several modalities gives one of them for all views of a
        slot, drawn evenly.
        """
        self.volumes, self.size, self.views, self.seed = volumes, size, views, seed
        self.shift = shift

    collate: Callable[[Any], Any] = staticmethod(default_collate)
    """Makes a batch of samples."""

    def __getitem__(self, slot: int) -> dict[str, Any]:
        """Return the views of one slot, ``(1, D, H, W)`` each, and where they come from."""
        volume = self.volumes[case_of(self.seed, slot, len(self.volumes))]
        channel = 0
        if len(volume.channels) > 1:
            draw = keyed_rng(self.seed, "modality", slot)
            channel = int(draw.integers(len(volume.channels)))
        views = []
        first: Size | None = None
        for view in range(self.views):
            rng = keyed_rng(self.seed, "crop", slot, view)
            if first is None or self.shift is None:
                start = random_start(volume.shape, self.size, rng)
            else:
                start = nearby_start(volume.shape, self.size, rng, first, self.shift)
            first = first or start
            views.append(torch.from_numpy(np.asarray(volume.image_crop(start, self.size, channel))))
        modality = volume.channels[channel]
        return {"views": views, "case": volume.id, "modality": modality, "slot": slot}

    def loader(self, slots: Sequence[range], workers: int) -> DataLoader[Any]:
        """Load one batch for each of ``slots``, in order (see :class:`StepSlots`)."""
        return DataLoader(
            self,
            batch_sampler=slots,  # type: ignore[arg-type]  # any iterable of indices will do
            num_workers=workers,
            collate_fn=self.collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=False,
        )


class GroupedCrops(UnlabelledCrops):
    """One random crop of each drawn volume with all of its modalities, whichever it has."""

    def __getitem__(self, slot: int) -> dict[str, Any]:
        """Return one slot's ``channels``, modality -> ``(D, H, W)``, and where they come from."""
        volume = self.volumes[case_of(self.seed, slot, len(self.volumes))]
        start = random_start(volume.shape, self.size, keyed_rng(self.seed, "crop", slot, 0))
        crop = torch.from_numpy(np.asarray(volume.image_crop(start, self.size)))
        return {
            "channels": dict(zip(volume.channels, crop, strict=True)),
            "start": start,
            "shape": volume.shape,
            "case": volume.id,
            "slot": slot,
        }

    @staticmethod
    def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """List what the samples hold: cases of different modalities cannot be stacked."""
        return {name: [sample[name] for sample in samples] for name in samples[0]}


class LabelledBatch(NamedTuple):
    """Crops of labelled cases, and what is known of them."""

    images: Tensor
    """``(B, C, D, H, W)`` float32."""
    truth: Tensor
    """Labels ``(B, 1, D, H, W)`` or class ids ``(B,)``, int64."""
    places: tuple[Place, ...]
    """Where each crop lies."""


class LabelledCrops:
    """Labelled crops of a few cases that live on the device whole."""

    def __init__(
        self,
        cases: Sequence[Prepared],
        size: Size,
        seed: int,
        positive_share: float,
        device: torch.device,
        clear: bool = False,
    ) -> None:
        """Read every case once; images stay float16, labels uint8.

        ``clear`` keeps the other crops free of foreground where that is possible (tumours, 1:1).
        """
        self.cases, self.size, self.seed = cases, size, seed
        self.positive_share, self.device, self.clear = positive_share, device, clear
        self._images = [torch.from_numpy(np.asarray(c.image())).to(device) for c in cases]
        self._labels = [torch.from_numpy(np.asarray(c.label())).to(device) for c in cases]

    def batch(self, step: int, batch: int, crops_per_case: int) -> LabelledBatch:
        """Return the crops of a step with their labels."""
        images, labels, places = [], [], []
        for slot in range(step * batch, (step + 1) * batch):
            index = case_of(self.seed, slot, len(self.cases))
            for crop in range(crops_per_case):
                rng = keyed_rng(self.seed, "crop", slot, crop)
                start = sample_start(
                    self.cases[index], self.size, rng, self.positive_share, clear=self.clear
                )
                images.append(_cut(self._images[index], start, self.size))
                labels.append(_cut(self._labels[index][None], start, self.size))
                places.append(_place(self.cases[index], start))
        return LabelledBatch(torch.stack(images).float(), torch.stack(labels).long(), tuple(places))


class ClassifiedCrops:
    """Crops of a few cases that live on the device whole, each with the class of its case."""

    def __init__(
        self,
        cases: Sequence[Prepared],
        classes: Mapping[str, int],
        size: Size,
        seed: int,
        balanced: bool,
        device: torch.device,
    ) -> None:
        """Read every case once; images stay float16.

        Args:
            cases: Training cases.
            classes: Case id -> class id.
            size: Of a crop, in voxels; it lies anywhere in the volume.
            seed: Of the order of cases and the places of crops.
            balanced: Meet the classes present in turns, and within one its cases, instead of each
                case once in an epoch.
            device: Where the images live.
        """
        self.cases, self.size, self.seed = cases, size, seed
        self._classes = [classes[case.id] for case in cases]
        self._images = [torch.from_numpy(np.asarray(c.image())).to(device) for c in cases]
        self._groups = [[*range(len(cases))]]
        if balanced:
            self._groups = [
                [index for index, name in enumerate(self._classes) if name == chosen]
                for chosen in sorted({*self._classes})
            ]

    def batch(self, step: int, batch: int, crops_per_case: int) -> LabelledBatch:
        """Return the crops of a step with their class ids."""
        images, classes, places = [], [], []
        for slot in range(step * batch, (step + 1) * batch):
            index = self.case_of(slot)
            for crop in range(crops_per_case):
                rng = keyed_rng(self.seed, "crop", slot, crop)
                image = self._images[index]
                start = random_start(tuple(image.shape[1:]), self.size, rng)
                images.append(_cut(image, start, self.size))
                classes.append(self._classes[index])
                places.append(_place(self.cases[index], start))
        truth = torch.tensor(classes, device=self._images[0].device)
        return LabelledBatch(torch.stack(images).float(), truth, tuple(places))

    def case_of(self, slot: int) -> int:
        """Index of the case in a global slot."""
        groups = len(self._groups)
        group = self._groups[case_of(self.seed, slot, groups)]
        # Slot k is the (k // groups)-th that this group has, for each epoch has all groups once.
        return group[case_of(self.seed, slot // groups, len(group))]


def _place(case: Prepared, start: Size) -> Place:
    x, y, z = map(int, start)
    return Place((x, y, z), case.shape, case.spacing)


def _cut(array: Tensor, start: Sequence[int], size: Size) -> Tensor:
    """Cut ``(C, X, Y, Z)`` at ``start``, zero-padded where the crop leaves the volume."""
    shape = array.shape[1:]
    low = [max(s, 0) for s in start]
    high = [min(s + n, m) for s, n, m in zip(start, size, shape, strict=True)]
    part = array[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    if tuple(part.shape[1:]) == size:
        return part
    whole = array.new_zeros((array.shape[0], *size))
    a = [lo - s for lo, s in zip(low, start, strict=True)]
    n = part.shape[1:]
    whole[:, a[0] : a[0] + n[0], a[1] : a[1] + n[1], a[2] : a[2] + n[2]] = part
    return whole


def device_bytes(cases: Sequence[Prepared], channels: int) -> int:
    """Bytes that :class:`LabelledCrops` needs on the device."""
    return sum(int(np.prod(case.shape)) * (2 * channels + 1) for case in cases)
