"""Training on the copies that a method's own part in fine-tuning makes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medssl_bench.method import Place, Tuning
from medssl_bench.networks.encoder import Encoder

Output = Tensor | tuple[Tensor, ...]


class Copies:
    """Makes the copies of a batch, and the loss of what the network says of them."""

    def __init__(self, tuning: Tuning, encoder: Encoder) -> None:
        """Listen to the encoder for its coarsest features."""
        self.tuning = tuning
        self._level = encoder.levels[-1].name
        self._features: Tensor | None = None
        encoder.register_forward_hook(self._listen)

    def _listen(self, module: nn.Module, inputs: Any, features: dict[str, Tensor]) -> None:
        del inputs
        self._features = features[self._level] if module.training else None

    def joined(
        self, images: Tensor, places: Sequence[Place], rng: np.random.Generator
    ) -> tuple[Tensor, int]:
        """Return the copies side by side ``(B, N C, D, H, W)``, to be augmented alike, and N."""
        made = self.tuning.copies(images, places, rng)
        return torch.cat(made, dim=1), len(made)

    def loss(
        self,
        model: Callable[[Tensor], Output],
        loss_of: Callable[[Output, Tensor], Tensor],
        joined: Tensor,
        count: int,
        truth: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the copies' losses and the method's term, and what to note of them.

        Noted are ``loss``, the copies' mean, which is of the size that other methods' have, and
        ``tuning_term``, the method's.
        """
        stacked = torch.cat(joined.chunk(count, dim=1))
        output = model(stacked.contiguous(memory_format=torch.channels_last_3d))
        outputs = output if isinstance(output, tuple) else (output,)
        logits = [*zip(*(each.chunk(count) for each in outputs), strict=True)]
        assert self._features is not None
        features = self._features.chunk(count)
        supervised = [
            loss_of(one if len(one) > 1 else one[0], truth)
            for one in logits
        ]  # fmt: skip
        losses, term = torch.stack(supervised), self.tuning.term(features, logits)
        return losses.sum() + term, {"loss": losses.mean(), "tuning_term": term}
