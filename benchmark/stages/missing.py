"""How a network does where channels of a case are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from medssl_bench.data.prepared import Prepared, Shape
from medssl_bench.method import Place

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from medssl_bench.method import Tuning
    from medssl_bench.stages.evaluate import Evaluation

Which = Literal["none", "each", "all"]


@dataclass(frozen=True)
class Missing:
    """What a cell's record gets of it."""

    table: pd.DataFrame
    """The rows of the case table, with ``without``, the channels joined by ``+``, and ``filled``,
    what stood in their place: ``template``, ``zero``, or one for each, joined alike."""
    patterns: tuple[str, ...]


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

    @property
    def filled(self) -> str:
        """What stands in the place of the channels."""
        place = Place((0, 0, 0), self.shape, self.spacing)
        words = []
        for name in self.without:
            found = _stand_in(self.tuning, self.channels.index(name), place, (1, 1, 1))
            words.append("zero" if found is None else "template")
        return words[0] if len({*words}) == 1 else "+".join(words)

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
    import pandas as pd

    tables: list[pd.DataFrame] = []
    for without in patterns(channels, which):
        name = "+".join(without)
        cases = [Reduced.of(case, without, tuning) for case in tests]
        table = measure(cases, f"without {name}").cases
        tables.append(table.assign(without=name, filled=cases[0].filled))
    if not tables:
        return None
    named = tuple(str(table["without"].iloc[0]) for table in tables)
    return Missing(pd.concat(tables, ignore_index=True), named)
