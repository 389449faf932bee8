"""What an analysis is given, and what it returns: tables with their claims, and figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from medssl_bench.analysis.leaderboard.leaks import leak_lines
from medssl_bench.analysis.leaderboard.results import Results
from medssl_bench.analysis.statistics.answer import FEW_METHODS
from medssl_bench.analysis.statistics.panel import Panel, panels_in, scored
from medssl_bench.analysis.text import columns
from medssl_bench.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_COMPUTABLE = "not computable"


@dataclass(frozen=True)
class Options:
    """The choices of whoever asks."""

    metric: str = "dice"
    task: str | None = None
    shots: str | None = None
    alpha: float = 0.05
    correction: Literal["holm", "bh"] = "holm"
    gall_bladder: Literal["small", "gi"] | None = None
    """Its organ group; None keeps what the task says."""
    resamples: int = 10_000
    seed: int = 0


@dataclass(frozen=True)
class Evidence:
    """The records of a results folder, and the choices."""

    results: Results | None
    options: Options = field(default_factory=Options)
    wants_figures: bool = True
    _prepared: list[pd.DataFrame] = field(default_factory=list, repr=False, compare=False)
    _scored: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)
    _panels: dict[Any, list[Panel]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def records(self) -> Results:
        """The records, where the analysis needs some."""
        if self.results is None:
            raise BenchError("no results folder was read")
        return self.results

    def asked(self, options: Options) -> Evidence:
        """Return the same records with other choices; what was scored is kept."""
        return replace(self, options=options)

    def know(self, prepared: pd.DataFrame) -> None:
        """Take the case table as ``tables.prepare`` returns it from whoever has it already."""
        self._prepared[:] = [prepared]

    def know_panels(self, task: str, by_targets: Mapping[tuple[str, ...], list[Panel]]) -> None:
        """Take the panels of a task over all its shots from whoever made them of its records."""
        for targets, found in by_targets.items():
            self._panels[self.options.metric, task, None, targets] = found

    def panels(
        self, *, targets: Sequence[str] | None = None, shots: str | None = None
    ) -> list[Panel]:
        """Return what can be compared, narrowed by the options."""
        chosen = self.options
        asked = (chosen.metric, chosen.task, shots or chosen.shots, targets and tuple(targets))
        if asked in self._panels:
            return self._panels[asked]
        if chosen.metric not in self._scored:
            cases = self.records.segmented
            table = self._prepared[0] if self._prepared else None
            self._scored[chosen.metric] = scored(cases, chosen.metric, prepared=table)
        found = panels_in(
            self._scored[chosen.metric],
            chosen.metric,
            task=chosen.task,
            shots=shots or chosen.shots,
            targets=targets,
        )
        self._panels[asked] = found
        return found


@dataclass(frozen=True)
class Section:
    """One table and what it says."""

    title: str
    table: pd.DataFrame
    """One row an answer; every number in full. ``reason`` says why a number is missing."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Head to template over the columns, as ``{mean} [{low}, {high}]``; empty: every column."""
    notes: Sequence[str] = ()
    digits: int = 3
    reason: str = ""
    """Why there is no table at all, where there is none."""


@dataclass(frozen=True)
class Outcome:
    """What an analysis found."""

    name: str
    claim: str
    """What kind of statement the numbers make."""
    sections: Sequence[Section]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """File name without ending to figure."""
    leaks: Sequence[str] = ()
    """Which test cases of the records were in a pretraining corpus, one line a task."""

    @property
    def text(self) -> str:
        """All sections as plain text."""
        parts = [self.claim, *(_section_text(one) for one in self.sections)]
        return "\n\n".join([*parts, *(["\n".join(self.leaks)] if self.leaks else [])])

    @property
    def table(self) -> pd.DataFrame:
        """All sections as one table; ``section`` names each row's."""
        parts = [one.table.assign(section=one.title) for one in self.sections if len(one.table)]
        if not parts:
            return pd.DataFrame(columns=["section"])
        joined = pd.concat(parts, ignore_index=True)
        return joined[["section", *(name for name in joined if name != "section")]]

    @property
    def document(self) -> dict[str, Any]:
        """All sections for other programs; a missing number is null."""
        return {
            "analysis": self.name,
            "claim": self.claim,
            "leaks": list(self.leaks),
            "sections": [
                {
                    "title": one.title,
                    "reason": one.reason,
                    "notes": list(one.notes),
                    "rows": [_plain(row) for row in one.table.to_dict("records")],
                }
                for one in self.sections
            ],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write CSV, JSON and each figure as SVG and PNG; return the files."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            table, document = folder / f"{self.name}.csv", folder / f"{self.name}.json"
            self.table.to_csv(table, index=False)
            text = json.dumps(self.document, indent=1, allow_nan=False, ensure_ascii=False)
            document.write_text(text + "\n", encoding="utf-8")
            files = [table, document]
            for name, figure in self.figures.items():
                for ending in ("svg", "png"):
                    path = folder / f"{name}.{ending}"
                    figure.savefig(path, dpi=150)
                    files.append(path)
        except OSError as error:
            raise BenchError(f"--out {folder}: cannot be written ({error.strerror})") from None
        return files


def leak_notes(records: Sequence[Mapping[str, Any]], task: str | None) -> list[str]:
    """Say which test cases of an analysis's records an audit found in a pretraining corpus.

    Args:
        records: All that were read.
        task: The one that was asked about, if one was.
    """
    used = [one for one in records if task is None or one["cell"]["task"] == task]
    return [f"leak: {line}" for line in leak_lines(used)]


def digits_of(metric: str) -> int:
    """Return decimals worth showing: a thousandth of Dice, a tenth of a millimetre."""
    return 1 if metric.startswith("hd95") else 3


def too_few(panel: Panel, least: int = 2) -> Section | None:
    """Return a section that says why a panel cannot be compared, or None where it can."""
    if len(panel.methods) >= least:
        return None
    reason = FEW_METHODS if least == 2 else f"fewer than {least} methods to compare"
    return Section(panel.title, pd.DataFrame(), notes=panel_notes(panel), reason=reason)


def panel_notes(panel: Panel) -> list[str]:
    """Say what a panel is made of, and what is not in it."""
    methods, draws, seeds, cases = panel.values.shape
    made = (
        f"{methods} method{'s' * (methods != 1)}, {draws} draw{'s' * (draws != 1)},"
        f" {seeds} seed{'s' * (seeds != 1)} each, {cases} test case{'s' * (cases != 1)}"
    )
    return [made, *(f"left out: {line}" for line in panel.left_out)]


def _section_text(section: Section) -> str:
    lines = [section.title]
    if section.reason:
        lines.append(f"{NOT_COMPUTABLE}: {section.reason}")
    elif len(section.table):
        shown = section.shown or {str(name): f"{{{name}}}" for name in section.table.columns}
        body = [filled(section, row) for row in section.table.to_dict("records")]
        lines.append(columns([list(shown), *body]))
    return "\n".join([*lines, *(f"  {note}" for note in section.notes)])


def filled(section: Section, row: Mapping[Any, Any]) -> list[str]:
    """Return the texts of one row of a section's table, by its heads."""
    shown = section.shown or {str(name): f"{{{name}}}" for name in section.table.columns}
    words = {str(name): cell(name, row[name], section.digits) for name in row}
    reason = str(row.get("reason") or "")
    return [_fill(template, words, reason) for template in shown.values()]


def _fill(template: str, words: Mapping[str, str], reason: str) -> str:
    """Fill a template; an interval without limits is left away, a missing p gives the reason."""
    text = template.format(**words)
    text = re.sub(r" \[-, -\]", "", text)
    return f"{NOT_COMPUTABLE}: {reason}" if text == "-" and template == "{p}" and reason else text


def cell(name: object, value: Any, digits: int) -> str:
    """Write one value; p-values to two significant digits, missing numbers as ``-``."""
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        if str(name) == "p" or str(name).startswith("p_") or str(name) == "least_p":
            return "<0.0001" if value < 1e-4 else f"{value:.2g}"
        return f"{value:.{digits}f}"
    return str(value)


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
