"""Do the papers' sentences follow from their own tables? Recomputed from ``results/reported``.

Printed numbers are never mixed with measured ones. Each statement below names the cells it is
about; what they give is compared with what the paper states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medssl_bench.analysis.leaderboard.marks import COLOURS, DASHES
from medssl_bench.analysis.statistics.ranks import ranks_of
from medssl_bench.analysis.studies.drawing import sheet, style, titled
from medssl_bench.analysis.studies.outcome import Evidence, Outcome, Section

LOWER_IS_BETTER = ("hd95",)
CELL = ["source", "table", "task", "target", "metric", "shots"]
COLUMN = ["source", "table", "task", "target", "metric"]
NUMBER = ["source", "table", "method", "backbone", "task", "target", "metric", "shots"]
"""What ``reported_corrections.csv`` names a printed number by."""
CHECKED = {
    "source": "{source}",
    "section": "{section}",
    "statement": "{statement}",
    "stated": "{stated}",
    "from tables": "{computed}",
    "agrees": "{agrees}",
}
RANKED = {"table": "{source} {table}", "what": "{what}", "ranking": "{ranking}"}
GAPPED = {
    "table": "{source} {table}",
    "task": "{task}",
    "target": "{target}",
    "metric": "{metric}",
    "method": "{label}",
    "shots": "{shots}",
    "value": "{value}",
    "best at most shots": "{reference}",
    "gap (%)": "{gap}",
}
ORDER = {"0": 0.0, "1%": 1.0, "10%": 10.0, "20%": 20.0, "40%": 40.0, "100%": 100.0, "full": 1e3}
"""Shots as printed, fewest first; ``40`` and ``many`` are not of a table."""


@dataclass(frozen=True)
class Statement:
    """A sentence of a paper and how it follows from printed cells."""

    source: str
    section: str
    words: str
    stated: float | str
    compute: Callable[[pd.DataFrame], float | str]
    digits: int = 2


def analyse(evidence: Evidence) -> Outcome:
    """Recompute statements, rankings and performance gaps."""
    table = read_reported()
    checks = check_statements(table)
    wrong = checks[checks["agrees"] == "no"]
    sections = [
        Section(
            "Statements against tables", checks, CHECKED,
            [f"{len(checks)} statements recomputed, {len(wrong)} differ"],
        ),
        Section(
            "Rankings by printed averages", rankings(table), RANKED,
            ["ties share a rank; values as printed, so a misprint ranks as it is printed"],
        ),
        Section(
            "Performance gaps to the best at the most shots", performance_gaps(table), GAPPED,
            ["where a paper's table has several numbers of shots; no spread is printed, so no"
             " interval can be computed"],
        ),
    ]  # fmt: skip
    claim = "Numbers as printed in the papers, recomputed from their own tables; nothing measured."
    return Outcome("reported", claim, sections, {"reported": _draw(performance_gaps(table))})


def read_reported() -> pd.DataFrame:
    """Read the printed results, values as numbers; ``printed`` is their text."""
    table = _read("reported_results.csv")
    return table.assign(printed=table["value"], value=table["value"].astype(float))


def read_corrections() -> dict[tuple[str, ...], tuple[str, str]]:
    """Read what is suggested for cells that look wrong: ``NUMBER`` -> (number, reason)."""
    return {
        tuple(row[name] for name in NUMBER): (row["value_suggested"], row["reason"])
        for row in _read("reported_corrections.csv").to_dict("records")
    }


def _read(name: str) -> pd.DataFrame:
    path = resources.files("medssl_bench.results").joinpath(f"reported/{name}")
    with path.open(encoding="utf-8") as stream:
        return pd.read_csv(stream, dtype=str, keep_default_na=False)


def check_statements(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a statement: what is stated, what the tables give, whether they agree."""
    rows = []
    for one in STATEMENTS:
        found = one.compute(table[table["source"] == one.source])
        if isinstance(found, float) and isinstance(one.stated, float):
            agrees = round(abs(found - one.stated), 6) < 0.5 * 10**-one.digits
            words = (f"{one.stated:.{one.digits}f}", f"{found:.{one.digits}f}")
        else:
            agrees, words = found == one.stated, (str(one.stated), str(found))
        rows.append(
            {
                "source": one.source,
                "section": one.section,
                "statement": one.words,
                "stated": words[0],
                "computed": words[1],
                "agrees": "yes" if agrees else "no",
            }
        )
    return pd.DataFrame(rows)


def rankings(table: pd.DataFrame) -> pd.DataFrame:
    """Rank the methods of every column of averages in the papers' tables."""
    printed = table[table["table"].str.startswith("Table") & table["target"].isin(["AVG", "mean"])]
    rows = []
    for key, cells in printed.groupby(CELL, sort=False):
        words = dict(zip(CELL, map(str, key), strict=True))
        if len(cells) < 2:
            continue
        sign = -1 if words["metric"] in LOWER_IS_BETTER else 1
        ranks = ranks_of(sign * cells["value"].to_numpy()[None])[0]
        labels = [_label(cell, cells) for cell in cells.to_dict("records")]
        order = np.argsort(ranks, kind="stable")
        text = ", ".join(f"{ranks[one]:g} {labels[one]}" for one in order)
        what = f"{words['task']} {words['metric']}, shots {words['shots']}"
        rows.append({**words, "what": what, "ranking": text})
    return pd.DataFrame(rows)


def performance_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Relate each printed value to the best of its column at the most shots, in percent."""
    printed = table[table["table"].str.startswith("Table") & table["shots"].isin(list(ORDER))]
    rows = []
    for _, cells in printed.groupby(COLUMN, sort=False):
        shots = sorted(cells["shots"].unique(), key=ORDER.__getitem__)
        most = cells[cells["shots"] == shots[-1]]
        if len(shots) < 2:
            continue
        lower = most["metric"].iloc[0] in LOWER_IS_BETTER
        best = most.sort_values("value", ascending=lower, kind="stable").iloc[0].to_dict()
        for cell in cells.to_dict("records"):
            gap = 100 * (cell["value"] / best["value"] - 1)
            reference = f"{_label(best, most)} {best['value']:g}"
            rows.append({**cell, "label": _label(cell, cells), "reference": reference, "gap": gap})
    columns = [*CELL, "method", "backbone", "label", "value", "reference", "gap"]
    return pd.DataFrame(rows)[columns]


def _draw(gaps: pd.DataFrame) -> Figure:
    """Draw the printed gaps against shots, a column of a table each."""
    columns = list(gaps.groupby(COLUMN, sort=False))
    with style():
        figure, axes = sheet(-(-len(columns) // 2), 4.6, 3.0, columns=2)
        for one, (key, rows) in zip(axes, columns, strict=False):
            shots = sorted(rows["shots"].unique(), key=ORDER.__getitem__)
            labels = list(dict.fromkeys(rows["label"]))
            for number, label in enumerate(labels):
                mine = rows[rows["label"] == label]
                places = [shots.index(word) for word in mine["shots"]]
                colour, dash = COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % 4]
                one.plot(
                    places, mine["gap"], color=colour, linestyle=dash, marker="o", markersize=3,
                    linewidth=1.2, label=label,
                )  # fmt: skip
            one.set_xticks(range(len(shots)), shots)
            one.set_ylabel("Performance gap (%)")
            one.grid(axis="y")
            one.legend(frameon=False, fontsize=5.5, ncols=2)
            titled(one, ", ".join(map(str, key)))
        for one in axes[len(columns) :]:
            one.set_axis_off()
    return figure


def _label(cell: Mapping[Any, Any], cells: pd.DataFrame) -> str:
    """Name a row by its method, and by its backbone where that is what tells it apart."""
    alike = cells[cells["method"] == cell["method"]]
    several = alike["backbone"].nunique() > 1
    return f"{cell['method']} ({cell['backbone']})" if several else str(cell["method"])


def _value(printed: pd.DataFrame, /, **words: str) -> float:
    """Return the one printed value that these columns name."""
    found = printed
    for column, word in words.items():
        found = found[found[column] == word]
    values = found["value"].unique()
    if len(values) != 1:
        raise ValueError(f"{words}: {len(values)} different printed values, one is meant")
    return float(values[0])


def _minus(first: dict[str, str], second: dict[str, str]) -> Callable[[pd.DataFrame], float]:
    return lambda table: _value(table, **first) - _value(table, **second)


def _best(
    column: Mapping[str, str],
    among: Callable[[pd.DataFrame], pd.Series[bool]] | None = None,
    *,
    last: bool = False,
) -> Callable[[pd.DataFrame], str]:
    """Name the method with the highest (or lowest) value of a column."""

    def find(table: pd.DataFrame) -> str:
        found = table if among is None else table[among(table)]
        for name, word in column.items():
            found = found[found[name] == word]
        return str(found.sort_values("value", ascending=last, kind="stable")["method"].iloc[0])

    return find


def _pretrained(table: pd.DataFrame) -> pd.Series[bool]:
    return table["method"] != "scratch"


def _medcoss(
    words: str, stated: float, section: str, first: str, second: str, task: str, metric: str
) -> Statement:
    column = {"task": task, "metric": metric}
    difference = _minus({"method": first, **column}, {"method": second, **column})
    return Statement("medcoss", section, words, stated, difference)


def _umif(task: str, shots: str, backbone: str, stated: float) -> Statement:
    column = {"table": "Table 3", "task": task, "shots": shots}
    rival = {"method": "med_unic", "backbone": backbone, **column}
    words = f"UmiF minus Med-UniC ({backbone}), {task} {shots}"
    return Statement("umif", "4.3", words, stated, _minus({"method": "umif", **column}, rival), 1)


def _gains(table: pd.DataFrame) -> pd.Series[float]:
    """BrainMVP's best Dice on each of six sets minus that of every other SSL method."""
    printed = table[(table["table"] == "Table 2") & table["target"].isin(["AVG", "mean"])]
    ours = printed[printed["method"] == "brainmvp"].groupby("task")["value"].max()
    others = printed[~printed["method"].isin(["brainmvp", "scratch"])]
    return others["task"].map(ours) - others["value"]


def _lowest_hd95(table: pd.DataFrame) -> str:
    """On how many of the six sets BrainMVP has the lowest average HD95."""
    printed = table[table["table"].isin(["Table 5", "Table 6"])]
    printed = printed[printed["target"].isin(["AVG", "mean"])]
    best = printed.loc[printed.groupby("task")["value"].idxmin()]
    return f"{(best['method'] == 'brainmvp').sum()} of {len(best)}"


ORGANS = {"table": "Table 2", "task": "amos_ct", "target": "AVG"}
TUMOUR = {"table": "Table 2", "task": "lung_ct"}

STATEMENTS = (
    Statement(
        "ssl_transfer", "5.7.3", "SMIT, average of organs", 0.87,
        lambda table: _value(table, method="smit", **ORGANS),
    ),
    Statement(
        "ssl_transfer", "5.7.3", "scratch, average of organs", 0.82,
        lambda table: _value(table, method="scratch", **ORGANS),
    ),
    Statement(
        "ssl_transfer", "5.7.3",
        "least accurate pretrained model, average of organs (Inpaint, misprinted, left out)", 0.85,
        lambda table: float(
            table[_pretrained(table) & (table["table"] == "Table 2") & (table["target"] == "AVG")
                  & (table["method"] != "inpaint")]["value"].min()
        ),
    ),
    Statement(
        "ssl_transfer", "5.7.3", "least accurate pretrained model, lung tumour",
        "swinunetr_public", _best(TUMOUR, _pretrained, last=True),
    ),
    Statement(
        "ssl_transfer", "Abstract", "highest accuracy, organs", "smit", _best(ORGANS)
    ),
    Statement(
        "ssl_transfer", "Abstract",
        "highest accuracy, lung tumour (Inpaint, misprinted, left out)", "smit",
        _best(TUMOUR, lambda table: table["method"] != "inpaint"),
    ),
    _umif("siim_seg", "1%", "ViT-B", 1.4),
    _umif("siim_seg", "10%", "ViT-B", 0.3),
    _umif("siim_seg", "100%", "ViT-B", 0.9),
    _umif("rsna_seg", "1%", "ViT-B", 0.8),
    _umif("rsna_seg", "10%", "ViT-B", 0.5),
    _umif("rsna_seg", "100%", "ViT-B", 0.3),
    _umif("rsna_det", "1%", "ResNet-50", 2.1),
    _umif("rsna_det", "10%", "ResNet-50", 1.1),
    _umif("rsna_det", "100%", "ResNet-50", 1.1),
    _medcoss(
        "NCH ACC, Path. minus X-ray", 2.36, "4.3", "single_path", "single_xray", "nch", "acc"
    ),
    _medcoss("NCH F1, Path. minus X-ray", 3.44, "4.3", "single_path", "single_xray", "nch", "f1"),
    _medcoss(
        "RICORD ACC, CT minus X-ray", 3.58, "4.3", "single_ct", "single_xray", "ricord", "acc"
    ),
    _medcoss("RICORD F1, CT minus X-ray", 2.81, "4.3", "single_ct", "single_xray", "ricord", "f1"),
    _medcoss("FD minus ER, average ACC", 3.19, "4.4", "medcoss_fd", "er", "average_cls", "acc"),
    _medcoss("FD minus ER, average AUC", 1.08, "4.4", "medcoss_fd", "er", "average_cls", "auc"),
    _medcoss("FD minus ER, average F1", 3.39, "4.4", "medcoss_fd", "er", "average_cls", "f1"),
    _medcoss("FD minus ER, average Dice", 1.47, "4.4", "medcoss_fd", "er", "average_seg", "dice"),
    _medcoss("FD minus ER, average HD95", -9.04, "4.4", "medcoss_fd", "er", "average_seg", "hd95"),
    Statement(
        "brainmvp", "Abstract", "smallest Dice gain over any SSL method, six sets", 0.28,
        lambda table: float(_gains(table).min()),
    ),
    Statement(
        "brainmvp", "Abstract", "largest Dice gain over any SSL method, six sets", 14.47,
        lambda table: float(_gains(table).max()),
    ),
    Statement("brainmvp", "D", "sets with the lowest average HD95", "6 of 6", _lowest_hd95),
)  # fmt: skip
"""The sentences about gaps and rankings; results/reported/text_claims_check.csv has all 46."""
