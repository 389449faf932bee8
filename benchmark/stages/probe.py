"""Frozen features of labelled crops, and which organs the crops show: what a probe is made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medssl_bench.analysis.probe import auc, knn_scores, macro, varies
from medssl_bench.data.crops import random_start
from medssl_bench.data.sampling import Size, keyed_rng
from medssl_bench.digest import seed_from
from medssl_bench.errors import BenchError, did_you_mean

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from medssl_bench.data.cache import Prepared
    from medssl_bench.networks.encoder import Encoder, Level

SHARE = 1e-3
"""An organ is present in a crop from this share of its voxels on: 33 of 32^3, 885 of 96^3."""

ONLINE_CROPS, ONLINE_NEIGHBOURS, ONLINE_BATCH = 48, 5, 4
"""Crops on each side of the online probe, how many neighbours vote, crops per forward pass."""


@dataclass(frozen=True)
class ProbeSettings:
    """What decides a probe's crops and features."""

    crops: int = 16
    """Random crops of each case."""
    share: float = SHARE
    level: str | None = None
    """The encoder's feature level whose mean over a crop is probed; None is the coarsest."""
    seed: int = 0
    """Of the places of crops and of the draws of test cases."""


class PresenceCrops:
    """Random crops of labelled cases, keyed by (seed, case), and which targets are in each."""

    def __init__(
        self,
        cases: Sequence[Prepared],
        targets: int,
        size: Size,
        settings: ProbeSettings,
    ) -> None:
        """Choose ``settings.crops`` places in each case and read the labels ``1..targets`` there.

        ``size`` is in voxels; a crop that leaves a small volume is padded with background.
        """
        self.size = size
        self._places: list[tuple[Prepared, Size]] = []
        for case in cases:
            rng = keyed_rng(settings.seed, "probe", case.id)
            self._places += [
                (case, random_start(case.shape, size, rng)) for _ in range(settings.crops)
            ]
        least = settings.share * math.prod(size)
        self.present: NDArray[np.bool_] = np.stack(
            [
                np.bincount(case.label_crop(start, size).ravel(), minlength=targets + 1)[1:]
                >= max(least, 1)
                for case, start in self._places
            ]
        )
        """Which targets fill at least the share of each crop, ``(N, targets)``."""
        self.cases = np.array([case.id for case, _ in self._places])
        self.patients = np.array([case.patient for case, _ in self._places])

    def __len__(self) -> int:
        return len(self._places)

    def batches(self, batch: int) -> Iterator[Tensor]:
        """Read the crops in order, ``(B, C, D, H, W)`` float16, ``batch`` at a time."""
        for first in range(0, len(self), batch):
            places = self._places[first : first + batch]
            yield torch.from_numpy(
                np.stack([case.image_crop(start, self.size) for case, start in places])
            )


def find_level(encoder: Encoder, name: str | None) -> Level:
    """Return an encoder's level by name, or its coarsest; raises BenchError for an unknown one."""
    if name is None:
        return encoder.levels[-1]
    known = {level.name: level for level in encoder.levels}
    if name not in known:
        raise BenchError(
            f"unknown feature level {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"
        )
    return known[name]


def pooled_features(
    encoder: Encoder, batches: Iterable[Tensor], level: Level, fabric: Fabric
) -> NDArray[np.float64]:
    """Return the mean over each crop of one feature level, ``(N, c)``.

    The encoder is frozen: in eval mode and without gradient. It is left as it was, and so are
    torch's random generators.

    Args:
        encoder: On the device of ``fabric``.
        batches: Crops ``(B, C, D, H, W)`` in [0, 1].
        level: One of the encoder's.
        fabric: Gives device and precision.
    """
    rows = []
    with frozen(encoder), fabric.autocast():
        for images in batches:
            images = images.to(fabric.device, torch.float32)
            images = images.contiguous(memory_format=torch.channels_last_3d)
            rows.append(encoder(images)[level.name].float().mean(dim=(2, 3, 4)).cpu())
    return torch.cat(rows).double().numpy()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Hold a network in eval mode without gradient, and hand it back as it was.

    Each module gets its own mode back, for some may be held in eval mode during training. Torch's
    random generators go on as if nothing had been computed.
    """
    modes = [(module, module.training) for module in network.modules()]
    devices = {p.device for p in network.parameters() if p.device.type == "cuda"}
    try:
        # Not inference mode: what a network keeps of its first pass must serve training too.
        with torch.random.fork_rng(devices=list(devices)), torch.no_grad():
            network.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class OnlineProbe:
    """A cheap kNN probe to follow a pretraining by; it decides nothing.

    It needs labelled cases of a training pool only. Half of the patients give the crops whose
    neighbours vote, the other half those that are scored; both are read once and kept in memory.
    """

    def __init__(
        self,
        cases: Sequence[Prepared],
        targets: int,
        size: Size,
        seed: int,
        fabric: Fabric,
    ) -> None:
        """Take ``ONLINE_CROPS`` crops of ``size`` voxels of each half, from all cases alike.

        Raises:
            BenchError: There are no two patients, or no target is in some crops of each half and
                missing in others.
        """
        self._fabric = fabric
        patients = sorted({case.patient for case in cases}, key=lambda p: seed_from(seed, p))
        voters = set(patients[: len(patients) // 2])
        halves = [[c for c in cases if (c.patient in voters) == votes] for votes in (True, False)]
        if not all(halves):
            raise BenchError("an online probe needs labelled cases of two patients or more")
        self.train, self.test = (_few_crops(half, targets, size, seed) for half in halves)
        self._images = [list(crops.batches(ONLINE_BATCH)) for crops in (self.train, self.test)]
        if not (varies(self.train.present) & varies(self.test.present)).any():
            raise BenchError(
                "an online probe has nothing to tell apart: no target is in some crops only;"
                " choose another task or a smaller crop"
            )

    def score(self, encoder: Encoder) -> dict[str, float]:
        """Return ``probe_knn_auc``, the mean ROC-AUC over targets; 0.5 is chance.

        The encoder and torch's random generators are left as they were.
        """
        level = encoder.levels[-1]
        train, test = (
            pooled_features(encoder, images, level, self._fabric) for images in self._images
        )
        scores = knn_scores(train, self.train.present, test, ONLINE_NEIGHBOURS)
        return {"probe_knn_auc": macro(auc(self.test.present, scores))}


def _few_crops(cases: Sequence[Prepared], targets: int, size: Size, seed: int) -> PresenceCrops:
    """Spread ``ONLINE_CROPS`` crops over the cases, one of each where they are many."""
    each = math.ceil(ONLINE_CROPS / len(cases))
    chosen = cases[: math.ceil(ONLINE_CROPS / each)]
    return PresenceCrops(chosen, targets, size, ProbeSettings(crops=each, seed=seed))
