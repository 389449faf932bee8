"""Pictures of what a method learns, taken at a few moments of its training."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MOMENTS = 8
"""Times at which pictures are taken, evenly over the run; the last is its end."""


class Gallery:
    """Pictures by step and name."""

    def __init__(self, steps: int, saved: Mapping[int, Mapping[str, Tensor]] | None = None) -> None:
        """Follow a run of so many steps; ``saved`` is what :meth:`state` returned."""
        self.steps = steps
        self._taken: dict[int, dict[str, Tensor]] = {
            step: dict(pictures) for step, pictures in (saved or {}).items()
        }

    def due(self, done: int, every: int = 1) -> bool:
        """Tell whether a moment has come within the last ``every`` steps."""
        return done * MOMENTS // self.steps > max(done - every, 0) * MOMENTS // self.steps

    def take(self, done: int, pictures: Mapping[str, Tensor]) -> None:
        """Keep pictures ``(H, W)`` in [0, 1], rounded to 255 shades."""
        if pictures:
            self._taken[done] = {
                name: (255 * picture.clamp(0, 1)).round().to("cpu", torch.uint8)
                for name, picture in pictures.items()
            }

    def state(self) -> dict[int, dict[str, Tensor]]:
        """Return what a checkpoint keeps."""
        return self._taken

    def files(self) -> dict[str, bytes]:
        """Return ``pictures/<name>_<step>.png`` -> its content.

        A picture's axes are R and A; it is turned as radiologists look at it, with the patient's
        right on the left and anterior at the top.
        """
        from PIL import Image

        found = {}
        for step, pictures in sorted(self._taken.items()):
            for name, picture in pictures.items():
                stream = io.BytesIO()
                turned: Any = picture.T.flip((0, 1)).contiguous().numpy()
                Image.fromarray(turned).save(stream, "PNG", optimize=True)
                found[f"pictures/{name}_{step}.png"] = stream.getvalue()
        return found
