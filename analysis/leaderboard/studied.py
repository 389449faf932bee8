"""The answers of ``bench analyze`` as parts of the page: the same tables, notes and figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from medssl_bench.analysis.figures import STYLE, accessible
from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.leaderboard.views import Row, Table, Value
from medssl_bench.analysis.studies import ANALYSES
from medssl_bench.analysis.studies.outcome import (
    NOT_COMPUTABLE,
    Evidence,
    Options,
    Outcome,
    Section,
    filled,
)
from medssl_bench.digest import digest
from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES = 2_000


@dataclass(frozen=True)
class Studied:
    """What one analysis says of one task, or of all."""

    analysis: str
    task: str
    claim: str
    tables: Sequence[Table] = ()
    nothing: Sequence[str] = ()
    """What could not be computed, and why."""
    figures: dict[str, str] = field(default_factory=dict)
    """File name without ending to SVG."""


def study(evidence: Evidence, name: str, task: str = "") -> Studied:
    """Run an analysis of the records at hand; ``task`` names the only one among them, if any."""
    analyse = ANALYSES[name].load()
    prefix = f"{name}-{digest(task)[:8]}" if task else name
    try:
        outcome = analyse(evidence)
    except BenchError as error:
        return Studied(name, task, "", nothing=[str(error)])
    return _studied(outcome, task, prefix)


def evidence_of(results: Results, *, wants_figures: bool = True) -> Evidence:
    """Return the evidence that all analyses of the page share, so that cases are scored once."""
    return Evidence(results, Options(resamples=RESAMPLES), wants_figures)


def _studied(outcome: Outcome, task: str, prefix: str) -> Studied:
    tables, nothing = [], []
    for number, section in enumerate(outcome.sections):
        if section.reason or not len(section.table):
            nothing.append(f"{section.title}: {section.reason or 'nothing to show'}")
        else:
            tables.append(_table(section, f"{prefix}-{number}"))
    figures = {
        f"{prefix}-{number}": _svg(figure, f"{outcome.name} {task}".strip(), outcome.claim)
        for number, figure in enumerate(outcome.figures.values())
    }
    return Studied(outcome.name, task, outcome.claim, tables, nothing, figures)


def _table(section: Section, identity: str) -> Table:
    shown = section.shown or {str(name): f"{{{name}}}" for name in section.table.columns}
    heads = list(shown)
    rows = []
    for row in section.table.to_dict("records"):
        texts = filled(section, row)
        values = [
            _value(template, text, row)
            for template, text in zip(shown.values(), texts, strict=True)
        ]
        rows.append(Row(texts[0], None, values[1:]))
    return Table(
        identity, section.title, [head.strip() for head in heads], rows, notes=section.notes
    )


def _value(template: str, text: str, row: dict[Any, Any]) -> Value:
    if text in ("-", "") or text.startswith(NOT_COMPUTABLE):
        return Value(missing=str(row.get("reason") or "") or "not computable")
    first = template[1 : template.index("}")] if template.startswith("{") else ""
    number = row.get(first)
    if isinstance(number, (int, float)) and number == number:
        return Value(
            text.replace("-", "\u2212") if not isinstance(number, str) else text, float(number)
        )
    return Value(text, text)


def _svg(figure: Figure, title: str, description: str) -> str:
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    buffer = io.StringIO()
    look: Any = STYLE
    with mpl.rc_context(look):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return accessible(buffer.getvalue(), title, description)
