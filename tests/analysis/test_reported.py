"""Printed numbers beside measured ones: paper 003's tables 2 to 6, and what looks misprinted."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from medssl_bench.analysis.leaderboard.classification import board_tables
from medssl_bench.analysis.leaderboard.marks import Mark
from medssl_bench.analysis.leaderboard.overview import COLUMNS, _printed_row
from medssl_bench.analysis.leaderboard.reported import (
    ReportedRow,
    misprints,
    printed_classes,
    printed_rows,
    printed_tables,
)
from medssl_bench.analysis.leaderboard.views import Value
from medssl_bench.analysis.studies.reported import read_reported
from medssl_bench.tasks import TASKS

SEGMENTED = ("brats_ped", "brats_met", "isles22", "mrbrains13", "vs", "upenn_gbm")
CLASSIFIED = ("brats2018_cls", "adni", "adhd200", "abide1")
METHODS = 17
"""Rows of tables 2, 3, 5 and 6."""


def of_paper_003(rows: list[ReportedRow], table: str) -> list[ReportedRow]:
    return [one for one in rows if (one.source, one.table) == ("BrainMVP", table)]


def one_of(rows: list[ReportedRow], label: str, backbone: str) -> ReportedRow:
    (found,) = [one for one in rows if (one.label, one.backbone) == (label, backbone)]
    return found


@pytest.mark.parametrize("task", SEGMENTED)
def test_every_row_of_table_2_has_its_distance_from_tables_5_and_6(task: str) -> None:
    assert task in TASKS
    rows = of_paper_003(printed_rows()[task, "full"], "Table 2")
    assert len(rows) == METHODS
    assert all({*one.scores} == {"dice", "hd95"} for one in rows)
    assert all(0.5 < one.scores["dice"].value < 1 for one in rows)
    assert [one.scores["dice"].value for one in rows] == sorted(
        (one.scores["dice"].value for one in rows), reverse=True
    )


@pytest.mark.parametrize("task", CLASSIFIED)
def test_every_row_of_table_3_has_its_three_metrics(task: str) -> None:
    assert task in TASKS
    rows = of_paper_003(printed_classes()[task, "full"], "Table 3")
    assert len(rows) == METHODS
    assert all({*one.scores} == {"acc", "auc", "f1"} for one in rows)


@pytest.mark.parametrize(
    ("task", "label", "backbone", "scores"),
    [
        ("brats_ped", "BrainMVP", "UniFormer", {"dice": 0.7680, "hd95": 12.12}),
        ("brats_met", "MoCov3 [8]", "UNETR", {"dice": 0.5807, "hd95": 42.32}),  # MoCoV3 in Table 5
        ("vs", "UniFormer [31]", "UniFormer", {"dice": 0.8033, "hd95": 5.68}),
        ("upenn_gbm", "Swin-UNETR* [46]", "Swin-UNETR", {"dice": 0.8866, "hd95": 5.43}),
        ("isles22", "Swin-UNETR [18]", "Swin-UNETR", {"dice": 0.7588, "hd95": 11.31}),
        ("adni", "BrainMVP", "UNET3D", {"acc": 0.6555, "auc": 0.6669, "f1": 0.6421}),
        ("abide1", "GVSL [21]", "UNET3D", {"acc": 0.6242, "auc": 0.5244, "f1": 0.4701}),
    ],
)
def test_numbers_are_those_of_the_paper(
    task: str, label: str, backbone: str, scores: dict[str, float]
) -> None:
    rows = (printed_rows() if "dice" in scores else printed_classes())[task, "full"]
    tables = [one for one in rows if one.table in ("Table 2", "Table 3")]
    found = one_of(tables, label, backbone).scores
    assert {name: one.value for name, one in found.items()} == pytest.approx(scores)


def test_the_ablation_and_the_labels_of_figure_3_are_there() -> None:
    steps = of_paper_003(printed_rows()["brats_ped", "full"], "Table 4")
    assert [one.scores["dice"].value for one in steps] == pytest.approx(
        [0.7680, 0.7587, 0.7516, 0.7252]
    )
    assert all({*one.scores} == {"dice"} for one in steps)
    for task in ("brats2018_cls", "adni"):
        assert len(of_paper_003(printed_classes()[task, "full"], "Table 4")) == 4
    few = {task: printed_rows()[task, "20%"] for task in ("brats_ped", "vs", "upenn_gbm")}
    assert {task: rows[0].scores["dice"].value for task, rows in few.items()} == pytest.approx(
        {"brats_ped": 0.6641, "vs": 0.7039, "upenn_gbm": 0.8682}
    )


def test_what_looks_misprinted_is_said_of_its_number_alone() -> None:
    table = read_reported()
    found = {
        tuple(table.loc[place, ["source", "table", "method", "task", "target", "printed"]]): text
        for place, text in misprints().items()
    }
    assert {*found} == {
        ("brainmvp", "Table 2", "brainmvp", "upenn_gbm", "WT", "88.9"),
        ("brainmvp", "Table 6", "brainmvp", "mrbrains13", "AVG", "4.14"),
        ("ssl_transfer", "Table 2", "inpaint", "amos_ct", "AVG", "0.70"),
        ("ssl_transfer", "Table 2", "inpaint", "lung_ct", "mean", "0.85"),
        ("ssl_transfer", "Table 2", "rotation", "amos_ct", "AVG", "0.83"),
        ("ssl_transfer", "Table 2", "simmim", "amos_ct", "AVG", "0.85"),
    }
    (parts,) = [text for name, text in found.items() if name[-1] == "4.14"]
    assert f"{(3.71 + 4.92 + 3.84) / 3:.3f}" in parts
    (lost,) = [text for name, text in found.items() if name[-1] == "88.9"]
    assert lost.startswith("apparent misprint for 88.97: ")


def test_a_row_of_the_page_shows_numbers_as_printed_and_their_misprint() -> None:
    rows = of_paper_003(printed_rows()["mrbrains13", "full"], "Table 2")
    shown = _printed_row(one_of(rows, "BrainMVP", "UNET3D"))
    cells = dict(zip(COLUMNS[1:], shown.cells, strict=True))
    assert (cells["Dice"].text, cells["Dice"].badge) == ("0.754", "reported")
    assert (cells["HD95 (mm)"].text, cells["HD95 (mm)"].note) == (
        "4.1", "Table 6, without a unit",
    )  # fmt: skip
    assert cells["Source"].note == "BrainMVP, Table 2"
    assert "4.14" in shown.note and "4.157" in shown.note
    assert _printed_row(one_of(rows, "BrainMVP", "UniFormer")).note == ""


def test_printed_rows_stand_below_measured_classification() -> None:
    one: dict[str, Any] = {
        "method": "brainmvp", "backbone": "uniformer3d", "corpus": "brats2021", "corpus_size": "4",
        "pretrain_crop": "96x96x96", "pretraining": "a", "pretrain_seed": "0", "profile": "paper",
        "protocol": "b", "tuning": "", "task": "brats2018_cls", "shots": "full",
        "smallest_class": 2,
        "n_cases": 4, "n_runs": 1, "n_draws": 1, "n_seeds": 1, "gain_missing": "no scratch",
        "gain": math.nan, "gain_low": math.nan, "gain_high": math.nan,
        **dict.fromkeys(("auc", "accuracy", "f1", "log_loss"), 0.5),
        **dict.fromkeys(("auc_sd", "accuracy_sd", "f1_sd", "log_loss_sd"), math.nan),
    }  # fmt: skip
    marks = {"brainmvp": Mark("#000000", "o")}
    leaks = {("brats2018_cls", "a"): Value("none")}
    ((_, table),) = board_tables(
        pd.DataFrame([one]), marks, leaks, printed_classes(), {"brainmvp": "multi"}
    )["brats2018_cls"]
    assert len(table.rows) == 1 + METHODS + 4 and table.rows[0].data["source"] == "measured"
    best = table.rows[1]
    assert best.label == "BrainMVP" and best.data == {"source": "reported"}
    cells = dict(zip(table.columns[1:], best.cells, strict=True))
    assert [cells[name].text for name in ("AUC", "Accuracy", "F1")] == ["0.945", "0.860", "0.832"]
    assert cells["Pretraining"].note == "BrainMVP, Table 3"
    assert cells["Accuracy gain over scratch"].missing and cells["Cases"].missing


def test_the_printed_tables_name_tasks_as_the_others_do() -> None:
    captions = [table.caption for table in printed_tables()]
    for number, tasks in (("2", SEGMENTED), ("5", SEGMENTED[:3]), ("6", SEGMENTED[3:5]),
                          ("3", CLASSIFIED), ("4", ("brats_ped", "adni"))):  # fmt: skip
        assert {f"{task}: BrainMVP, Table {number}" for task in tasks} <= {*captions}
