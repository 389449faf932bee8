"""Weights in other layouts: MONAI's SwinUNETR and its public pretraining checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from medssl_bench.errors import BenchError


def load_strictly(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state whose names and shapes all fit.

    Raises:
        BenchError: with the first names that do not.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    unexpected = sorted(set(state) - set(own))
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or unexpected or shapes:
        faults = [
            f"{len(names)} {what} (first: {names[0]})"
            for what, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of other shape", shapes),
            )
            if names
        ]
        raise BenchError(
            f"weights do not fit this {type(module).__name__}: {', '.join(faults)};"
            " were they trained with the same backbone and options?"
        )
    module.load_state_dict(dict(state))
