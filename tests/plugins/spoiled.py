"""A method whose loss is not a number from the third step on."""

import torch

from medssl_bench.method import Batch, Losses
from medssl_bench.methods.simmim import SimMIM
from medssl_bench.registry import Entry, methods


class Spoiled(SimMIM):
    """SimMIM until the third step."""

    def forward(self, batch: Batch) -> Losses:
        losses = super().forward(batch)
        if batch.progress.step < 2:
            return losses
        return Losses(losses.total * torch.nan, losses.terms)


methods.add("spoiled", Entry(Spoiled, "for tests", {"family": Spoiled.family}))
