"""Signs of collapse while an encoder is pretrained: do its features still tell crops apart?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medssl_bench.networks.encoder import Encoder

ROWS = 64
"""Crops that a figure is taken over, at most."""
COLLAPSED = 1e-3
"""A ``feature_std`` below this counts as collapse; an untrained encoder has 10 to 100 times it."""
LOST = 0.1
"""So does one below this share of the first figure, of an encoder that is all but untrained."""


class FeatureWatch:
    """Remembers the encoder's pooled coarsest features of the latest crops it trained on."""

    def __init__(self, encoder: Encoder) -> None:
        """Listen to ``encoder``; a teacher's copy of it is not listened to."""
        self._level = encoder.levels[-1].name
        self._rows: list[Tensor] = []
        encoder.register_forward_hook(self._note)

    def _note(self, module: Encoder, _: Any, features: dict[str, Tensor]) -> None:
        if module.training:
            pooled = features[self._level].detach().float().mean((2, 3, 4))
            self._rows = [*self._rows, *pooled][-ROWS:]

    def state(self) -> list[Tensor]:
        """Return what a checkpoint keeps."""
        return [row.clone() for row in self._rows]

    def restore(self, rows: list[Tensor]) -> None:
        """Continue from a checkpoint."""
        self._rows = list(rows)

    def figures(self) -> dict[str, float]:
        """Return what the crops since the last call say, and forget them.

        ``feature_std``: standard deviation over crops of features scaled to length 1, times the
        root of their number: 1 where they point anywhere, 0 where all are the same (Chen and He,
        SimSiam, CVPR 2021, section 4.1). Fewer than two crops say nothing.
        """
        rows, self._rows = self._rows, []
        if len(rows) < 2:
            return {}
        here = rows[-1].device  # those of a checkpoint come from the CPU
        return {"feature_std": feature_std(torch.stack([row.to(here) for row in rows]))}


def feature_std(features: Tensor) -> float:
    """Return the spread of directions of ``features`` ``(crops, channels)``, in [0, 1]."""
    unit = torch.nn.functional.normalize(features, dim=1)
    return float(unit.std(dim=0, unbiased=False).mean() * features.shape[1] ** 0.5)


def collapsed(history: list[dict[str, Any]]) -> bool | None:
    """Tell from a history's last figure whether features collapsed; None where none was taken."""
    figures = [point["feature_std"] for point in history if "feature_std" in point]
    return bool(figures[-1] < max(COLLAPSED, LOST * figures[0])) if figures else None
