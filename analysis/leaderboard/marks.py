"""How a method is drawn: one colour, marker and dash each, the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

BASELINE_COLOUR = "#767676"
COLOURS = (
    "#0173b2",
    "#d55e00",
    "#029e73",
    "#b8609f",
    "#a9713e",
    "#c07c00",
    "#3d8fc4",
    "#7b68c8",
    "#8a8500",
    "#c2335f",
    "#0f8b8d",
)
"""Seaborn's colour-blind palette, its pale colours darkened to contrast 3:1 on white and black."""
BASELINE_MARKER = "o"
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")
SHAPES = {
    "o": "M6 2a4 4 0 1 0 .01 0z",
    "s": "M2.5 2.5h7v7h-7z",
    "^": "M6 1.5 10.5 10h-9z",
    "D": "M6 1 11 6 6 11 1 6z",
    "v": "M6 10.5 1.5 2h9z",
    "P": "M4.3 1.5h3.4v2.8h2.8v3.4H7.7v2.8H4.3V7.7H1.5V4.3h2.8z",
    "X": "M3.6 1 6 3.4 8.4 1 11 3.6 8.6 6 11 8.4 8.4 11 6 8.6 3.6 11 1 8.4 3.4 6 1 3.6z",
    "<": "M1.5 6 10 1.5v9z",
    ">": "M10.5 6 2 1.5v9z",
}
"""The markers as SVG paths in a 12 x 12 box, for the keys in tables."""
Dash = Literal["-", "--", "-.", ":"]
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":")
"""Line styles of a method's variants, in turn."""


@dataclass(frozen=True)
class Mark:
    """Colour (hex), matplotlib marker and line style of one line."""

    colour: str
    marker: str
    dash: Dash = "-"


def method_marks(methods: Iterable[str], order: Sequence[str], baseline: str) -> dict[str, Mark]:
    """Give each method its mark by its place in ``order``; others follow by name.

    The place, not what happens to be in the results, decides: a method looks the same on every
    page. The baseline is grey and dashed.
    """
    others = sorted(set(methods) - set(order))
    places = [name for name in [*order, *others] if name != baseline]
    marks = {
        name: Mark(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(places)
    }
    return {baseline: Mark(BASELINE_COLOUR, BASELINE_MARKER, "--"), **marks}


TELLING = (
    *("backbone", "corpus", "corpus_size", "pretrain_crop", "profile", "pretrain_seed"),
    *("tuning", "protocol", "pretraining"),
)
"""What may tell rows of one method apart, plain words first."""


def row_labels(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Name rows by method, adding only what tells apart rows of the same method.

    Digests (``pretraining``, ``protocol``) are shortened, and named only where plain words
    (backbone, corpus, its size, crop, profile, seed) do not tell the rows apart.
    """
    labels = []
    for row in rows:
        rivals = [other for other in rows if other["method"] == row["method"] and other != row]
        parts: list[str] = []
        for key in TELLING:
            told = [other for other in rivals if other[key] != row[key]]
            if told:
                rivals = [other for other in rivals if other[key] == row[key]]
                parts.append(f"{key.replace('_', ' ')} {short(row[key]) or 'none'}")
        labels.append(row["method"] + (f" ({', '.join(parts)})" if parts else ""))
    return labels


def short(value: str, length: int = 8) -> str:
    """Cut a hexadecimal digest to its first characters; leave any other word whole."""
    digest = len(value) >= 32 and all(letter in "0123456789abcdef" for letter in value)
    return value[:length] if digest else value
