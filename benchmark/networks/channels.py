"""An encoder pretrained on images of one channel, on images of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from medssl_bench.errors import BenchError
from medssl_bench.networks.encoder import Encoder

Rule = Literal["repeat", "fresh"]


def load_pretrained(encoder: Encoder, state: Mapping[str, Tensor], rule: Rule = "repeat") -> None:
    """Load the weights of an encoder of one channel into one of any number of channels.

    With several channels, ``repeat`` gives each of them the first convolution's weights divided by
    their number, so that an image with equal channels has the features it had with one of them
    alone. ``fresh`` leaves that convolution as it was built.

    Raises:
        BenchError: Names or shapes differ in more than the first convolution's channels.
    """
    from medssl_bench.networks.convert import load_strictly

    own = encoder.state_dict()
    load_strictly(
        encoder,
        {name: _fit(own.get(name), weight, encoder, rule) for name, weight in state.items()},
    )


def _fit(own: Tensor | None, weight: Tensor, encoder: Encoder, rule: Rule) -> Tensor:
    """Return the weight for the encoder: another one only where an image's channels go in."""
    channels = encoder.in_channels
    if own is None or own.ndim != 5 or weight.ndim != 5 or own.shape == weight.shape:
        return weight
    out, _, *kernel = own.shape
    if channels == 1 or own.shape[1] != channels or weight.shape != (out, 1, *kernel):
        raise BenchError(
            f"a convolution of {tuple(weight.shape)} does not fit one of {tuple(own.shape)}"
        )
    return own if rule == "fresh" else weight.repeat(1, channels, 1, 1, 1) / channels
