"""Scratch: no pretraining at all."""

from __future__ import annotations

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Losses, Method, Requires


class Scratch(Method):
    """The encoder's random initialisation, handed on as it is.

    It runs through the same fine-tuning as every method; the plan sees ``trains=False`` and
    schedules no pretraining for it.
    """

    family = "none"
    reference = "no pretraining"
    version = 1
    requires = Requires(trains=False)

    def forward(self, batch: Batch) -> Losses:
        """Refuse: raises BenchError, for there is no pretext task."""
        raise BenchError("scratch: there is nothing to pretrain; fine-tune its encoder as it is")
