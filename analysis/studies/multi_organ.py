"""Every target of a task by method, mean and spread over test cases (paper 004, Table 2)."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from medssl_bench.analysis.leaderboard.marks import row_labels, short
from medssl_bench.analysis.statistics.panel import scored
from medssl_bench.analysis.studies.drawing import METRIC_NAMES, sheet, style, titled
from medssl_bench.analysis.studies.outcome import Evidence, Outcome, Section, digits_of
from medssl_bench.analysis.studies.reported import read_reported
from medssl_bench.analysis.studies.reuse import only
from medssl_bench.analysis.tables import COMPARABLE, IDENTITY, as_words, shots_order, target_order

AVERAGE = "average"
PRINTED = ("ssl_transfer", "Table 2")
"""Source and table of paper 004's own in ``results/reported``."""


def analyse(evidence: Evidence) -> Outcome:
    """Make the multi-organ table of every task, shots and setup."""
    metric = evidence.options.metric
    rows = only(as_words(scored(evidence.records.cases, metric), COMPARABLE), evidence.options)
    orders = target_order(evidence.records.cases)
    groups = [
        (dict(zip(COMPARABLE, map(str, key), strict=True)), mine)
        for key, mine in rows.groupby(COMPARABLE, sort=True)
    ]
    groups.sort(key=lambda one: (one[0]["task"], shots_order(one[0]["shots"])))
    sections, drawn = [], []
    for words, mine in groups:
        title = ", ".join((words["task"], f"shots {words['shots']}", words["backbone"],
                           words["profile"], f"protocol {short(words['protocol'])}"))  # fmt: skip
        targets = [*orders[words["task"]], AVERAGE]
        table = wide(by_target(mine), targets)
        shown = {"method": "{method}", "runs": "{runs}"}
        shown |= {
            target: f"{{mean_{place}}} ({{sd_{place}}})" for place, target in enumerate(targets, 1)
        }
        missed = int((mine["miss"]).sum())
        notes = [f"mean_1, sd_1, ...: {', '.join(targets)}"]
        notes += [f"{missed} targets missed in all, at Dice 0 or the diagonal"] * bool(missed)
        sections.append(Section(title, table, shown, notes, digits_of(metric)))
        drawn.append((title, table, targets))
    for task in sorted({words["task"] for words, _ in groups}):
        printed = printed_table(task, metric)
        if len(printed):
            sections.append(printed_section(task, printed))
    claim = (
        f"{METRIC_NAMES[metric]} of each target, mean (standard deviation over test cases); seeds"
        " and draws of a case are averaged first. The average is over the targets present in a"
        " case, then over cases. Printed tables stand apart and are never mixed in."
    )
    with style():
        width = max(4.0, 0.62 * max(len(targets) for *_, targets in drawn) + 1.8)
        most = max(len(table) for _, table, _ in drawn)
        figure, axes = sheet(len(drawn), width, 1.4 + 0.3 * most)
        for one, (title, table, targets) in zip(axes, drawn, strict=True):
            _draw(one, title, table, targets, digits_of(metric))
    return Outcome("table2", claim, sections, {"table2": figure})


def by_target(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a method and target: mean and SD over cases, and the number of cases.

    Args:
        rows: One row per (run, case, target) with ``value``, of one task, shots and setup.
    """
    found = [
        (dict(zip(IDENTITY, map(str, key), strict=True)), mine)
        for key, mine in rows.groupby(IDENTITY, sort=True)
    ]
    labels = row_labels([identity for identity, _ in found])
    made = []
    for label, (_, mine) in zip(labels, found, strict=True):
        runs = len(mine[["draw", "seed"]].drop_duplicates())
        cases = mine.groupby(["target", "case"])["value"].mean().dropna().reset_index()
        whole = mine.groupby(["draw", "seed", "case"])["value"].mean().groupby("case").mean()
        average = whole.dropna().rename("value").reset_index().assign(target=AVERAGE)
        both = pd.concat([cases, average], ignore_index=True).groupby("target")["value"]
        table = both.agg(mean="mean", sd="std", cases="size").reset_index()
        made.append(table.assign(method=label, runs=runs))
    return pd.concat(made, ignore_index=True)


def wide(table: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
    """Return one row a method: ``mean_1``, ``sd_1``, ``cases_1``, ... in the order of targets."""
    rows = []
    for method, mine in table.groupby("method", sort=True):
        found = mine.set_index("target").reindex(targets)
        row: dict[str, object] = {"method": method, "runs": mine["runs"].iloc[0]}
        for place, (_, one) in enumerate(found.iterrows(), 1):
            row |= {f"{name}_{place}": one[name] for name in ("mean", "sd", "cases")}
        rows.append(row)
    made = pd.DataFrame(rows)
    return made.sort_values(f"mean_{len(targets)}", ascending=False, ignore_index=True)


def printed_table(task: str, metric: str) -> pd.DataFrame:
    """Return paper 004's printed cells of a task and metric."""
    table = read_reported()
    alike = (table["task"] == task) & (table["metric"] == metric)
    return table[(table["source"] == PRINTED[0]) & (table["table"] == PRINTED[1]) & alike]


def printed_section(task: str, printed: pd.DataFrame) -> Section:
    """Show printed cells beside the measured ones."""
    targets = list(dict.fromkeys(printed["target"]))
    names = {f"value_{place}": target for place, target in enumerate(targets, 1)}
    values = printed.pivot(index="method", columns="target", values="value")
    spread = printed.pivot(index="method", columns="target", values="std")
    rows = [
        {
            "method": method,
            "printed_as": label,
            **{
                key: f"{values.loc[method, target]:.2f} ({spread.loc[method, target]})"
                for key, target in names.items()
            },
        }
        for method, label in printed[["method", "method_label"]].drop_duplicates().to_numpy()
    ]
    shown = {"method": "{method}"} | {target: f"{{{key}}}" for key, target in names.items()}
    title = f"{task}, as printed in paper 004, Table 2 (mean, standard deviation)"
    notes = list(dict.fromkeys(filter(None, printed["note"])))
    return Section(title, pd.DataFrame(rows), shown, notes)


def _draw(axes: Axes, title: str, table: pd.DataFrame, targets: list[str], digits: int) -> None:
    means = table[[f"mean_{place}" for place in range(1, len(targets) + 1)]].to_numpy(float)
    axes.imshow(means, aspect="auto", cmap="viridis")
    low, high = float(pd.Series(means.ravel()).min()), float(pd.Series(means.ravel()).max())
    for (row, column), value in ((place, means[place]) for place in _places(means.shape)):
        ink = "white" if value < (low + high) / 2 else "black"
        text = f"{value:.{min(digits, 2)}f}" if value == value else "-"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=7)
    axes.set_xticks(range(len(targets)), [one.replace("_", " ") for one in targets], rotation=40,
                    ha="right", rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(len(table)), table["method"])
    titled(axes, title)


def _places(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(row, column) for row in range(shape[0]) for column in range(shape[1])]
