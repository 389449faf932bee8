"""Loss curves: means over stretches of steps, kept on the device until they are read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from medssl_bench.errors import DivergedError

POINTS = 500


class History:
    """Collects named values of every step and keeps about 500 points of their means."""

    def __init__(
        self,
        steps: int,
        points: list[dict[str, Any]] | None = None,
        joint: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Continue from ``points`` (as :attr:`points` returned them) after a resume.

        ``joint`` turns one process's mean into that of all processes.
        """
        self._joint = joint
        self.every = max(1, math.ceil(steps / POINTS))
        self.steps = steps
        self.points: list[dict[str, Any]] = list(points or [])
        self._open: list[dict[str, Tensor]] = []

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Take the values of one step; reads them from the device once per point.

        Raises:
            DivergedError: A value is NaN or infinite.
        """
        self._open.append({name: value.detach() for name, value in values.items()})
        if (step + 1) % self.every == 0 or step + 1 == self.steps:
            self._close(step)

    def _close(self, step: int) -> None:
        point: dict[str, Any] = {"step": step + 1}
        for name in self._open[0]:
            stacked = torch.stack([values[name].float() for values in self._open])
            value = stacked.mean()
            point[name] = float(self._joint(value) if self._joint else value)
            if not math.isfinite(point[name]):
                raise DivergedError(
                    f"{name} became {point[name]} at or just before step {step + 1}"
                )
        self.points.append(point)
        self._open = []

    def note(self, **values: float) -> None:
        """Add figures (the rate, a method's watch) to the point that was just closed."""
        if self.points:
            self.points[-1].update(values)

    def mark(self, step: int, **values: float) -> None:
        """Keep figures of this very ``step`` (1 is the first), such as a validation score.

        Where no point was closed at it they are a point of their own, without losses.
        """
        if self.points and self.points[-1]["step"] == step:
            self.points[-1].update(values)
        else:
            self.points.append({"step": step, **values})

    @property
    def at_point(self) -> bool:
        """True right after a point was closed; the moment to write a checkpoint."""
        return not self._open

    @property
    def latest(self) -> str:
        """The latest loss as text for a progress line."""
        losses = [point["loss"] for point in self.points if "loss" in point]
        return f"loss {losses[-1]:.4f}" if losses else ""
