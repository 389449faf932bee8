"""How a network does where channels of a case are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medssl_bench.data.prepared import Prepared, Shape
from medssl_bench.method import Place

if TYPE_CHECKING:
    from torch import Tensor

    from medssl_bench.method import Tuning
    from medssl_bench.stages.evaluate import Evaluation

Which = Literal["none", "each", "all"]


@dataclass(frozen=True)
class Missing:
    """What a cell's record gets of it."""

    table: pd.DataFrame
    """The rows of the case table, with a column ``without``: the channels, joined by ``+``."""
    patterns: tuple[str, ...]
    filled: dict[str, Literal["template", "zero"]]
    """Channel -> what stood in its place."""


def patterns(channels: Sequence[str], which: Which) -> list[tuple[str, ...]]:
    """Return the channels that are missing together: one at a time, or all sets but the whole."""
    most = {"none": 0, "each": min(1, len(channels) - 1), "all": len(channels) - 1}[which]
    return [group for number in range(1, most + 1) for group in combinations(channels, number)]


@dataclass
class Reduced(Prepared):
    """A prepared case whose channels are missing in part.

    In their place stands what the method's :class:`Tuning` has for it, or else 0, the lower end of
    the intensity range and the value of the background.
    """

    without: tuple[str, ...] = ()
    tuning: Tuning | None = field(default=None, repr=False)

    @classmethod
    def of(cls, case: Prepared, without: Sequence[str], tuning: Tuning | None) -> Reduced:
        """Take channels away from a case."""
        return cls(
            case.folder, case.id, case.patient, case.meta, case.rebuild, tuple(without), tuning
        )

    def image(self) -> NDArray[np.float16]:
        """Return the image ``(C, X, Y, Z)`` in [0, 1]."""
        return self._reduced(super().image(), (0, 0, 0), self.shape)

    def image_crop(
        self, start: Shape, size: Shape, channel: int | None = None
    ) -> NDArray[np.float16]:
        """Read ``(C, *size)`` from ``start``, zero outside the volume."""
        whole = self._reduced(super().image_crop(start, size), start, size)
        return whole if channel is None else whole[channel : channel + 1]

    def _reduced(
        self, image: NDArray[np.float16], start: Shape, size: Shape
    ) -> NDArray[np.float16]:
        image = image.copy()
        place = Place(start, self.shape, self.spacing)
        for name in self.without:
            channel = self.channels.index(name)
            found = _stand_in(self.tuning, channel, place, size)
            image[channel] = 0 if found is None else found.numpy()
        return image


def _stand_in(tuning: Tuning | None, channel: int, place: Place, size: Shape) -> Tensor | None:
    return None if tuning is None else tuning.stand_in(channel, place, size)


def evaluate_missing(
    tests: Sequence[Prepared],
    channels: Sequence[str],
    which: Which,
    tuning: Tuning | None,
    measure: Callable[[Sequence[Prepared], str], Evaluation],
) -> Missing | None:
    """Measure test cases without some of their channels; None where there is nothing to leave out.

    ``measure(cases, words)`` evaluates them as the whole cases were; ``words`` say what is missing.
    """
    tables: list[pd.DataFrame] = []
    named: list[str] = []
    for without in patterns(channels, which):
        name = "+".join(without)
        cases = [Reduced.of(case, without, tuning) for case in tests]
        table = measure(cases, f"without {name}").cases
        tables.append(table.assign(without=name))
        named.append(name)
    if not tables:
        return None
    filled = {name: _filling(tests[0], channels.index(name), tuning) for name in channels}
    return Missing(pd.concat(tables, ignore_index=True), tuple(named), filled)


def _filling(case: Prepared, channel: int, tuning: Tuning | None) -> Literal["template", "zero"]:
    place = Place((0, 0, 0), case.shape, case.spacing)
    return "zero" if _stand_in(tuning, channel, place, (1, 1, 1)) is None else "template"
