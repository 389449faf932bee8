"""Similarity: the encoder a cell started from against the fine-tuned one, layer by layer.

CKA and attention are measured on crops of test cases around the task's targets. Which crops depends
on the cases alone, so that every method, draw and seed of a task is asked about the same ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench import interrupt
from medssl_bench.analysis.similarity import Matrix, MinibatchCKA, u_centred
from medssl_bench.config import SimilaritySettings
from medssl_bench.data.crops import sample_start
from medssl_bench.data.sampling import Size, keyed_rng
from medssl_bench.networks.attention import Attention
from medssl_bench.networks.encoder import Encoder
from medssl_bench.networks.tapping import gaze, layer_names, tapped
from medssl_bench.networks.windows import Windows
from medssl_bench.progress import Emit, Event
from medssl_bench.record import Reuse

if TYPE_CHECKING:
    from medssl_bench.data.cache import Prepared

BEFORE, AFTER = "before", "after"
GAZE = ("distance_mm", "entropy", "uniform_distance_mm", "uniform_entropy")


@dataclass(frozen=True)
class Crop:
    """A crop of a test case."""

    image: NDArray[np.float16]
    """``(C, D, H, W)``."""
    spacing: tuple[float, float, float]
    """mm per voxel."""


@dataclass(frozen=True)
class Similarity:
    """What a cell's record gets of it."""

    cka: pd.DataFrame
    """``layer_a`` (before), ``layer_b`` (after), ``cka``, ``n`` (crops) and ``group`` (their
    number in a minibatch): every pair of layers."""
    attention: pd.DataFrame
    """``encoder`` (before, after), ``layer``, ``head`` (from 0), ``distance_mm``, ``entropy``
    (nats), the same of uniform attention, and ``n`` (crops); empty without window attention."""
    how: Reuse

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """What is stored, by file name without ending."""
        tables = {"similarity": self.cka, "attention": self.attention}
        return {name: table for name, table in tables.items() if len(table)}


@torch.inference_mode()
def measure_similarity(
    before: nn.Module,
    after: nn.Module,
    tests: Sequence[Prepared],
    crop: Size,
    settings: SimilaritySettings,
    device: torch.device,
    title: str,
    emit: Emit,
) -> Similarity:
    """Compare two encoders of one architecture in float32, without dropped paths.

    Features are averaged over ``settings.cells``^3 cells as soon as a layer puts them out, so
    memory is that of one forward pass and of one group's averages, whatever the number of cases.

    Args:
        before: The encoder that fine-tuning started from.
        after: The fine-tuned one.
        tests: Test cases, prepared.
        crop: Voxels.
        settings: Number and size of groups.
        device: Where to compute.
        title: The cell's, for progress.
        emit: Receives progress.
    """
    began = time.monotonic()
    assert isinstance(before, Encoder) and isinstance(after, Encoder)
    encoders = {BEFORE: before.to(device).eval(), AFTER: after.eval()}
    layers = layer_names(before)
    table, looks = MinibatchCKA(), []
    for number in range(settings.groups):
        crops = list(sample_crops(tests, crop, settings.group, number))
        grams = {name: _grams(one, crops, settings.cells, device) for name, one in encoders.items()}
        table.add(grams[BEFORE], grams[AFTER])
        if number == 0:
            looks = [_looks(one, name, crops, device) for name, one in encoders.items()]
        emit(Event(title, number + 1, settings.groups, "comparing encoders"))
        interrupt.check()
    attention = pd.concat(looks, ignore_index=True)
    n = settings.groups * settings.group
    how = Reuse(
        crops=n,
        group=settings.group,
        cells=settings.cells,
        crop=crop,
        attention_crops=settings.group if len(attention) else 0,
        seconds=time.monotonic() - began,
    )
    rows = [
        {"layer_a": a, "layer_b": b, "cka": table.matrix[i, j], "n": n, "group": settings.group}
        for i, a in enumerate(layers)
        for j, b in enumerate(layers)
    ]
    return Similarity(pd.DataFrame(rows), attention, how)


def sample_crops(tests: Sequence[Prepared], size: Size, count: int, number: int) -> Iterator[Crop]:
    """Yield the crops of group ``number``: one case after another, each around a target's voxel."""
    cases = sorted(tests, key=lambda case: case.id)
    for slot in range(number * count, (number + 1) * count):
        turn, place = divmod(slot, len(cases))
        case = cases[place]
        start = sample_start(case, size, keyed_rng("similarity", case.id, turn), positive_share=1.0)
        yield Crop(np.asarray(case.image_crop(start, size)), case.spacing)


def _grams(
    encoder: Encoder, crops: Sequence[Crop], cells: int, device: torch.device
) -> list[Matrix]:
    """Return the U-centred Gram matrix of each layer's averages over cells."""
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in layer_names(encoder)}

    def take(name: str, features: Tensor) -> None:
        rows[name].append(average(features, cells).flatten().cpu().numpy())

    with tapped(encoder, take):
        for crop in crops:
            encoder(_batch(crop, device))
    return [u_centred(np.stack(rows.pop(name))) for name in list(rows)]


def average(features: Tensor, cells: int) -> Tensor:
    """Average ``(B, C, D, H, W)`` over at most ``cells`` cells along each axis, in float32."""
    d, h, w = (min(side, cells) for side in features.shape[2:])
    if (d, h, w) == features.shape[2:]:
        return features.float()
    return functional.adaptive_avg_pool3d(features.float(), (d, h, w))


def _looks(
    encoder: Encoder, name: str, crops: Sequence[Crop], device: torch.device
) -> pd.DataFrame:
    """Return where each head looks, averaged over crops."""
    found: dict[str, list[Tensor]] = {}

    def look(layer: str, attention: Attention, tokens: Tensor, cutting: Windows) -> None:
        pitch = [
            side / grid * mm
            for side, grid, mm in zip(crop.image.shape[1:], cutting.grid, crop.spacing, strict=True)
        ]
        seen = gaze(attention, tokens, cutting, (pitch[0], pitch[1], pitch[2]))
        values = [seen.distance, seen.entropy]
        values += [
            torch.full_like(seen.distance, value)
            for value in (seen.uniform_distance, seen.uniform_entropy)
        ]
        found.setdefault(layer, []).append(torch.stack(values, dim=-1).cpu())

    with tapped(encoder, lambda layer, features: None, look):
        for crop in crops:
            encoder(_batch(crop, device))
    tables = [
        pd.DataFrame(torch.stack(values).mean(dim=0).numpy(), columns=list(GAZE)).assign(
            layer=layer, head=lambda table: table.index
        )
        for layer, values in found.items()
    ]
    if not tables:
        return pd.DataFrame()
    whole = pd.concat(tables, ignore_index=True).assign(encoder=name, n=len(crops))
    return whole[["encoder", "layer", "head", *GAZE, "n"]]


def _batch(crop: Crop, device: torch.device) -> Tensor:
    image = torch.from_numpy(crop.image).to(device)[None].float()
    return image.contiguous(memory_format=torch.channels_last_3d)
