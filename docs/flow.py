"""Draws the README's picture, once for light pages and once for dark ones: `python docs/flow.py`.

The curves and bars are schematic: they show what is measured, not a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 960, 202
CARD, GAP, TALL = 136, 27, 194
FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Helvetica,Arial,sans-serif"
METHODS = ("#3d8fc4", "#d9772b", "#1f9e78")
ORGANS = ("#d9772b", "#3d8fc4", "#1f9e78")


@dataclass(frozen=True)
class Theme:
    """Colours of one picture; the page behind it shows through."""

    text: str
    soft: str
    line: str
    card: str
    tissue: str
    bone: str


THEMES = {
    "light": Theme("#1f2328", "#59636e", "#c6cdd5", "#f6f8fa", "#b9c2cc", "#8a95a1"),
    "dark": Theme("#e6edf3", "#9198a1", "#4b535d", "#161b22", "#59636f", "#8d97a3"),
}


def scan(x: float, y: float, theme: Theme, labelled: bool = False) -> str:
    """Draw a 52 x 40 axial slice: body, spine, and three organs that have colours if labelled."""
    liver, kidney, aorta = ORGANS if labelled else (theme.bone,) * 3
    return (
        f'<g transform="translate({x} {y})">'
        f'<rect width="52" height="40" rx="4" fill="{theme.card}" stroke="{theme.line}"/>'
        f'<ellipse cx="26" cy="20" rx="22" ry="15" fill="{theme.tissue}"/>'
        f'<path d="M9 19c0-7 7-10 14-8 5 2 3 7-2 9s-7 7-9 6-3-4-3-7z" fill="{liver}"/>'
        f'<ellipse cx="38" cy="24" rx="4" ry="5" fill="{kidney}"/>'
        f'<circle cx="29" cy="20" r="2.6" fill="{aorta}"/>'
        f'<circle cx="26" cy="29" r="3.6" fill="{theme.card}" stroke="{theme.bone}"'
        ' stroke-width="2"/>'
        "</g>"
    )


def corpus(theme: Theme) -> str:
    """Draw a stack of scans without labels."""
    return "".join(scan(30 + 8 * i, 60 + 10 * i, theme) for i in range(4))


def pretraining(theme: Theme) -> str:
    """Draw a scan cut into patches, some of them hidden."""
    hidden = {(0, 1), (1, 3), (2, 0), (2, 2), (3, 1), (0, 3), (3, 3)}
    parts = [f'<g transform="translate(26 56) scale(1.62 1.92)">{scan(0, 0, theme)}</g>']
    for row in range(4):
        for column in range(4):
            fill = METHODS[0] if (row, column) in hidden else "none"
            parts.append(
                f'<rect x="{26 + 21 * column}" y="{56 + 19.2 * row:.1f}" width="21" height="19.2"'
                f' fill="{fill}" fill-opacity=".88" stroke="{theme.line}"/>'
            )
    return "".join(parts)


def encoders(theme: Theme) -> str:
    """Draw one encoder for each method, and the untrained one."""
    parts = []
    for i, colour in enumerate((*METHODS, theme.soft)):
        dash = ' stroke-dasharray="4 3"' if colour == theme.soft else ""
        opacity = "0" if colour == theme.soft else ".28"
        parts.append(
            f'<path d="M36 {54 + 22 * i}l64 4.5v8l-64 4.5z" fill="{colour}"'
            f' fill-opacity="{opacity}" stroke="{colour}" stroke-width="1.6"{dash}/>'
        )
    return "".join(parts)


def finetuning(theme: Theme) -> str:
    """Draw a few labelled scans."""
    return "".join(scan(14 + 56 * (i % 2), 54 + 46 * (i // 2), theme, True) for i in range(4))


def measurement(theme: Theme) -> str:
    """Draw a reference and a prediction, and the distance between their borders."""
    return (
        f'<ellipse cx="64" cy="95" rx="40" ry="33" fill="{METHODS[2]}" fill-opacity=".25"'
        f' stroke="{METHODS[2]}" stroke-width="2"/>'
        f'<ellipse cx="74" cy="99" rx="38" ry="32" fill="{METHODS[1]}" fill-opacity=".2"'
        f' stroke="{METHODS[1]}" stroke-width="2" stroke-dasharray="5 3"/>'
        f'<path d="M24 95h12" stroke="{theme.text}" stroke-width="2"/>'
        f'<path d="M24 90v10M36 90v10" stroke="{theme.text}" stroke-width="1.4"/>'
    )


def leaderboard(theme: Theme) -> str:
    """Draw rows of a table, each with a mean and its interval."""
    parts = []
    for i, colour in enumerate((*METHODS[:2], theme.soft, METHODS[2])):
        y, mean = 63 + 22 * i, 92 - 11 * i
        parts.append(
            f'<text x="16" y="{y + 4}" fill="{theme.soft}" font-size="11">{i + 1}</text>'
            f'<circle cx="34" cy="{y}" r="4.5" fill="{colour}"/>'
            f'<path d="M{mean - 18} {y}h36" stroke="{colour}" stroke-width="2"/>'
            f'<path d="M{mean} {y - 5}v10" stroke="{colour}" stroke-width="3"/>'
        )
    return "".join(parts)


STEPS = (
    ("Corpus", corpus, ("scans without labels,", "the same for all")),
    ("Pretraining", pretraining, ("one run per method,", "equal steps")),
    ("Encoders", encoders, ("one per method,", "and from scratch")),
    ("Fine-tuning", finetuning, ("5, 10, … or all labels,", "repeated draws")),
    ("Measurement", measurement, ("Dice, HD95, misses", "on test cases")),
    ("Leaderboard", leaderboard, ("paired gains with", "their intervals")),
)


def picture(theme: Theme) -> str:
    """Return the whole SVG."""
    title = "From an unlabelled corpus to a leaderboard"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        f' width="{WIDTH}" height="{HEIGHT}" role="img" font-family="{FONT}">',
        f"<title>{title}: {', '.join(name.lower() for name, _, _ in STEPS)}</title>",
    ]
    for i, (name, draw, words) in enumerate(STEPS):
        x = 4.5 + i * (CARD + GAP)
        parts.append(
            f'<g transform="translate({x:.1f} 0)">'
            f'<rect y="4" width="{CARD}" height="{TALL}" rx="10" fill="{theme.card}"'
            f' stroke="{theme.line}"/>'
            f'<text x="{CARD / 2}" y="30" text-anchor="middle" font-size="15" font-weight="600"'
            f' fill="{theme.text}">{escape(name)}</text>'
            f'<g transform="translate(0 -8)">{draw(theme)}</g>'
        )
        for line, text in enumerate(words):
            parts.append(
                f'<text x="{CARD / 2}" y="{164 + 17 * line}" text-anchor="middle" font-size="12"'
                f' fill="{theme.soft}">{escape(text)}</text>'
            )
        if i + 1 < len(STEPS):
            parts.append(
                f'<path d="M{CARD + 7} 101h12m-5-5 5 5-5 5" fill="none" stroke="{theme.soft}"'
                ' stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>'
            )
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    for shade, theme in THEMES.items():
        (Path(__file__).parent / f"flow-{shade}.svg").write_text(picture(theme), encoding="utf-8")
