"""Loss curves: means over stretches of steps, kept on the device until they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
        saved: Mapping[str, Any] | None = None,
        joint: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Continue from what :meth:`state` returned, after a resume.

        ``joint`` turns one process's values into the means of all processes, element by element.
        """
        saved = saved or {}
        self._joint = joint
        self.every = max(1, math.ceil(steps / POINTS))
        self.steps = steps
        self.points: list[dict[str, Any]] = list(saved.get("points", []))
        self._gathered: dict[str, Tensor] = dict(saved.get("gathered", {}))
        """Values of all processes since the last point, as far as they were gathered: (steps,)."""
        self._step = 0
        self._open: list[dict[str, Tensor]] = []
        """This process's values of the steps after those."""

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Take the values of one step; reads them from the device once per point.

        Raises:
            DivergedError: A value is NaN or infinite.
        """
        self._step = step + 1
        self._open.append({name: value.detach() for name, value in values.items()})
        if (step + 1) % self.every == 0 or step + 1 == self.steps:
            self._close(step)

    def _close(self, step: int) -> None:
        self._gather()
        point = {"step": step + 1, **self._means(step + 1)}
        self.points.append(point)
        self._gathered = {}

    def _means(self, step: int) -> dict[str, float]:
        means = {name: float(values.mean()) for name, values in self._gathered.items()}
        for name, value in means.items():
            if not math.isfinite(value):
                raise DivergedError(f"{name} became {value} at or just before step {step}")
        return means

    def _gather(self) -> None:
        """Bring the open values of all processes together; each of them has to call this."""
        # A term may begin in the middle of a point: its mean is that of the steps that had it.
        for name in dict.fromkeys(name for row in self._open for name in row):
            values = torch.stack([row[name].float() for row in self._open if name in row])
            values = self._joint(values) if self._joint else values
            earlier = self._gathered.get(name)
            if earlier is not None:
                values = torch.cat([earlier.to(values.device), values])
            self._gathered[name] = values
        self._open = []

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; each process has to call this.

        Raises:
            DivergedError: A value is NaN or infinite: the checkpoint before is the last good one.
        """
        self._gather()
        self._means(self._step)
        return {"points": self.points, "gathered": self._gathered}

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
        """True right after a point was closed."""
        return not self._open and not self._gathered

    @property
    def latest(self) -> str:
        """The latest loss as text for a progress line."""
        losses = [point["loss"] for point in self.points if "loss" in point]
        return f"loss {losses[-1]:.4f}" if losses else ""
