"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Align rows of cells: the first column to the left, numbers to the right; row 0 is the head.

    A column is of numbers where every cell below its head is one or is missing (``-``).
    """
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    numbers = [all(_is_number(row[place]) for row in rows[1:]) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numbers, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    text = cell.strip("%<+- \u2212")
    return not text or text.replace(".", "", 1).replace("e-", "", 1).isdigit()
