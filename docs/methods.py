"""Writes docs/methods.md from the classes of the methods: `python docs/methods.py`.

What a method is, which formula it minimises, where its defaults are from and why some differ from
the paper or the public code stands in its class and its settings; here it is only laid out.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medssl_bench.errors import BenchError
from medssl_bench.method import Method, Requires
from medssl_bench.methods import METHODS
from medssl_bench.networks import BACKBONES, build_encoder

INTRODUCTION = """\
# Methods

<!-- Written by `python docs/methods.py` from the classes in methods/; edit those instead. -->

What each method trains an encoder to do without labels, and every number it takes. "Paper 004" is
Jiang and Veeraraghavan, *Benchmarking transferability of SSL pretraining to same and different
modality segmentation tasks*, arXiv:2605.18491, whose list of methods this is. Where it is silent,
or where it and a method's published code differ, the text says which was followed and why.

Steps, batch, crop, learning rate and the rest of [`pretrain`](cli.md#pretrain) are the same for all
of them. A setting of a method is changed by `--set methods.NAME.SETTING=VALUE`; the `demo` profile
changes some for its small crops. [Add a method](add-a-method.md) is a walk through a new one.
"""

NEEDS: dict[str, Callable[[Any], str]] = {
    "views": lambda crops: "a crop of each scan" if crops == 1 else f"{crops} crops of each scan",
    "mask_input": lambda wanted: "a backbone that takes a mask" if wanted else "",
    "token_level": lambda wanted: "a feature level of half the total stride" if wanted else "",
    "min_modalities": lambda count: f"{count} modalities of each case" if count > 1 else "",
    "min_batch": lambda scans: f"{scans} scans a step or more" if scans > 1 else "",
    "trains": lambda _: "",
    "file": lambda wanted: "a file with the weights" if wanted else "",
    "own_training": lambda wanted: "to be named, for it trains by itself" if wanted else "",
}
"""What each field of ``Requires`` asks for, in words; empty where that is nothing."""

SIDE = 96
"""Crops of paper 004, in voxels; the matrix tells which backbones a method can be built on."""


def document() -> str:
    """Return the whole page."""
    kinds = {name: entry.load() for name, entry in METHODS.items()}
    parts = [INTRODUCTION, _overview(kinds), *(_section(*item) for item in kinds.items())]
    return "\n".join([*parts, _matrix(kinds)])


def _overview(kinds: dict[str, type[Method]]) -> str:
    rows = [
        [f"[`{name}`](#{name})", kind.family, METHODS[name].summary, _needs(kind)]
        for name, kind in kinds.items()
    ]
    return _table(["Method", "Family", "In a line", "Needs"], rows)


def _section(name: str, kind: type[Method]) -> str:
    file = f"{kind.__module__.rpartition('.')[2]}.py"
    facts = {
        "Reference": kind.reference,
        "Family": f"`{kind.family}`",
        "Version": str(kind.version),
        "Needs": _needs(kind),
        "Source": f"[`methods/{file}`](../methods/{file})",
    }
    lines = [
        f"## {name}",
        "",
        *(f"- {fact}: {text}" for fact, text in facts.items() if text),
        "",
        markdown(inspect.getdoc(kind) or ""),
        "",
    ]
    rows = setting_rows(kind.Config)
    if not rows:
        return "\n".join(lines)
    title = inspect.getdoc(kind.Config) or ""
    return "\n".join([*lines, markdown(title), "", _table(["Setting", "Default", "Meaning"], rows)])


def setting_rows(config: type, prefix: str = "") -> list[list[str]]:
    """Return name, default and meaning of every setting; parts of a group as ``group.part``."""
    docs, hints = field_docs(config), typing.get_type_hints(config)
    rows: list[list[str]] = []
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            rows += setting_rows(typing.cast(type, hint), f"{prefix}{field.name}.")
        else:
            default = _default(field.default, hint)
            rows.append([f"`{prefix}{field.name}`", default, docs.get(field.name, "")])
    return rows


def _needs(kind: type[Method]) -> str:
    requires = kind.requires
    told = {field.name: getattr(requires, field.name) for field in dataclasses.fields(Requires)}
    if not requires.trains:
        del told["views"]
    return ", ".join(filter(None, (NEEDS[name](value) for name, value in told.items())))


def _default(value: object, hint: object) -> str:
    """Show a default as ``--set`` takes it, with the other choices where there are any."""
    shown = {True: "true", False: "false", None: "null", "": '""'}
    plain = isinstance(value, (bool, str)) or value is None
    text = (
        shown.get(value, value) if plain else f"{value:.4g}" if isinstance(value, float) else value
    )
    others = [str(choice) for choice in typing.get_args(hint) if choice != value]
    if typing.get_origin(hint) is not typing.Literal or not others:
        return f"`{text}`"
    return f"`{text}`; or {', '.join(f'`{choice}`' for choice in others)}"


def field_docs(config: type) -> dict[str, str]:
    """Return the text under each field of a dataclass, those it inherits included, on one line."""
    found: dict[str, str] = {}
    for kind in reversed(config.__mro__[:-1]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, [*body.body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            text = ""
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = inspect.cleandoc(str(below.value.value))
            found[field.target.id] = " ".join(markdown(text).split())
    return found


def markdown(text: str) -> str:
    """Turn what docstrings use of reStructuredText into GitHub's Markdown."""
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = re.sub(r":math:`([^`]+)`", lambda found: f"$`{' '.join(found[1].split())}`$", text)
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"(?m)^\.\. math::(.*(?:\n(?: .*)?(?=\n|$))*)", _formula, text).strip()


def _formula(found: re.Match[str]) -> str:
    lines = [line.strip() for line in found[1].splitlines() if line.strip()]
    if any("&" in line or line.endswith(r"\\") for line in lines):
        lines = [r"\begin{aligned}", *lines, r"\end{aligned}"]
    return "\n".join(["```math", *lines, "```", ""])


def _matrix(kinds: dict[str, type[Method]]) -> str:
    """Build every method on every backbone and say which refuse each other, and why."""
    notes: dict[str, int] = {}
    rows = []
    for name, kind in kinds.items():
        if not kind.requires.trains:
            continue
        row = [f"`{name}`"]
        for backbone in BACKBONES:
            reason = _refusal(name, kind, backbone)
            row.append(f"no ({notes.setdefault(reason, len(notes) + 1)})" if reason else "yes")
        rows.append(row)
    return "\n".join(
        [
            "## On which backbones",
            "",
            f"With the defaults above, at crops of {SIDE}x{SIDE}x{SIDE} voxels:",
            "",
            _table(["", *(f"`{backbone}`" for backbone in BACKBONES)], rows),
            *(f"{number}. {reason}" for reason, number in notes.items()),
            *([""] if notes else []),
            "Methods that hand on weights as they are take the backbone that these were made for.",
            "",
        ]
    )


def _refusal(name: str, kind: type[Method], backbone: str) -> str:
    """Return why a method cannot be built on a backbone; empty where it can."""
    with torch.device("meta"):  # shapes only, no memory
        try:
            kind(build_encoder(backbone), kind.Config(), (SIDE, SIDE, SIDE))
        except BenchError as error:
            return str(error).removeprefix(f"{name}: ")
    return ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = [
        head,
        ["---"] * len(head),
        *([text.replace("|", r"\|") for text in row] for row in rows),
    ]
    return "\n".join([f"| {' | '.join(row)} |" for row in cells] + [""])


if __name__ == "__main__":
    (Path(__file__).parent / "methods.md").write_text(document(), encoding="utf-8")
