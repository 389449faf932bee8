"""The page is one safe file, and says the numbers that the tables beside it say."""

from __future__ import annotations

import csv
import json
import re
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medssl_bench.analysis.leaderboard.page import build_report
from medssl_bench.analysis.leaderboard.provenance import settings_told
from medssl_bench.analysis.leaderboard.results import read_slices
from medssl_bench.analysis.leaderboard.subjects import task_facts
from medssl_bench.analysis.tables import leaderboard
from medssl_bench.errors import BenchError
from medssl_bench.label_maps import file_name
from medssl_bench.record import Cell
from medssl_bench.store import Store

from .conftest import make_cases, make_history, make_record

MOMENT = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what tests ask of a page, and fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another tag"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(results_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(results_folder, tmp_path_factory.mktemp("report"), MOMENT)


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return report.read_text(encoding="utf-8")


def page_data(text: str) -> dict[str, Any]:
    """Return what the page's script reads."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', text)
    assert found
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def test_page_is_whole_and_its_ids_are_unique(text: str) -> None:
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = [str(one["href"])[1:] for one in page.all("a") if str(one["href"]).startswith("#")]
    assert links and set(links) <= set(ids)


def test_page_loads_nothing_from_outside(report: Path, text: str) -> None:
    page = Page(text)
    loaded = [
        str(value)
        for tag, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "poster", "data", "xlink:href")
        or (name == "href" and tag != "a")
    ]
    beside = [one for one in loaded if not one.startswith(("data:", "#"))]
    assert beside and all(
        one.startswith("cases/") and (report.parent / one).is_file() for one in beside
    )
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_every_file_that_the_page_names_is_beside_it(report: Path, text: str) -> None:
    links = {str(one["href"]) for one in Page(text).all("a")}
    files = {one for one in links if not one.startswith("#")}
    assert len(files) == 5 and all((report.parent / one).is_file() for one in files)
    data = page_data(text)["tasks"]
    assert set(data) == {"phantom_ct", "phantom_mri"}
    assert {(report.parent / one) for one in data.values()} == set(
        (report.parent / "data").iterdir()
    )


def test_page_without_its_aggregates_is_small(text: str) -> None:
    """Figures, table rows and the numbers of the switches are aggregates; the rest is the page."""
    bare = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.S)
    bare = re.sub(r"<svg.*?</svg>|<tbody>.*?</tbody>", "", bare, flags=re.S)
    assert len(bare) < 200_000


def test_tables_are_semantic(text: str) -> None:
    page = Page(text)
    assert len(page.all("table")) == len(page.all("caption")) == len(page.all("thead"))
    assert {one.get("scope") for one in page.all("th")} == {"col", "row"}
    assert all(image.get("alt") for image in page.all("img"))
    boards = [one for one in page.all("div") if "board" in str(one.get("class")).split()]
    assert [(one["data-task"], one["data-shots"]) for one in boards] == [
        (task, shots) for task in ("phantom_ct", "phantom_mri") for shots in ("5", "full")
    ]


def test_every_leaderboard_number_is_on_the_page(results_folder: Path, text: str) -> None:
    board = leaderboard(Store(results_folder, read_only=True).cases())
    for row in board.to_dict("records"):
        spread = f"SD of runs {row['dice_sd']:.3f}" if row["n_runs"] > 1 else "one run"
        shown = (f">{row['dice']:.3f}", f">{spread}", f">{row['method']}</th>")
        assert any(all(one in tr for one in shown) for tr in text.split("<tr")), shown


def test_a_missing_number_says_why(text: str) -> None:
    assert text.count('title="one run only; a spread needs at least two draws or seeds"') >= 6
    assert 'title="this row is the baseline"' in text
    shown = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r">\s*[\u2212-]?(nan|inf)\b", shown, flags=re.IGNORECASE)


def test_each_method_shows_the_same_case(text: str) -> None:
    alts = [str(one["alt"]) for one in Page(text).all("img")]
    assert len(alts) == 3 * 4
    assert {alt.split(":")[0] for alt in alts} == {"Case case_01"}
    for method in ("scratch", "simmim", "smit"):
        assert sum(alt.endswith(f"prediction of {method}") for alt in alts) == 4


def test_every_record_is_listed_with_its_digests(results_folder: Path, text: str) -> None:
    for record in Store(results_folder, read_only=True).records():
        assert f"{record.cell.slug}/record.json" in text
        assert record.digests.weights in text
    assert 'title="41cfa42' in text and "a CPU" in text and "32-true" in text


def test_files_beside_the_page(report: Path, results_folder: Path) -> None:
    board = leaderboard(Store(results_folder, read_only=True).cases())
    document = json.loads((report.parent / "tables/leaderboard.json").read_text(encoding="utf-8"))
    assert document["generated"] == "2030-01-02T03:04:00+00:00"
    assert [row["dice"] for row in document["rows"]] == pytest.approx(list(board["dice"]))
    single = next(row for row in document["rows"] if row["n_runs"] == 1)
    assert single["dice_sd"] is None and "one run" in single["missing"]["dice_sd"]
    with (report.parent / "tables/leaderboard.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["dice"]) for row in rows] == pytest.approx(list(board["dice"]))
    checked = {
        (one.cell.task, one.cell.pretraining): one.leaks
        for one in Store(results_folder, read_only=True).records()
    }
    for row, plain in zip(document["rows"], rows, strict=True):
        leaks = checked[row["task"], row["pretraining"]]
        assert row["leaks"] == (len(leaks.found) if leaks.checked or leaks.found else None)
        assert plain["leaks"] == ("" if row["leaks"] is None else str(row["leaks"]))
        assert ("leaks" in row["missing"]) == (row["leaks"] is None)
    cases = pd.read_csv(report.parent / "tables/cases.csv")
    assert len(cases) == 3 * 2 * 3 * 4 * 3
    names = {path.stem for path in (report.parent / "figures").iterdir()}
    assert {"shots-0", "shots-1", "loss-0", "pretraining-0", "pretraining-1"} <= names


def test_the_same_results_give_the_same_page(report: Path, results_folder: Path) -> None:
    again = build_report(results_folder, report.parent / "again", MOMENT)
    assert again.read_bytes() == report.read_bytes()


HOSTILE = "<script>alert(1)</script>"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    task = '"><img src=x onerror=alert(1)>'
    record = make_record("scratch", "t", "5", 0)
    cell = Cell(**{**record.cell.model_dump(), "method": HOSTILE, "task": task})
    record = record.model_copy(
        update={"cell": cell, "key": cell.key, "corpus": "'; -- ${x} {{ y }}"}
    )
    store.write(record, make_cases(HOSTILE, task, "5", 0), make_history(1.0))
    text = build_report(store.root, tmp_path / "out").read_text(encoding="utf-8")
    page = Page(text)
    assert [one.get("type") for one in page.all("script")] == ["application/json", None]
    assert not page.all("img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "{{ y }}" in text


def test_a_damaged_record_is_named_on_the_page(results_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(results_folder, tmp_path / "results")
    broken = next(folder.glob("records/*/smit*draw-1*/record.json"))
    broken.write_text("{}")
    text = build_report(folder, tmp_path / "out").read_text(encoding="utf-8")
    assert "Left out of this page" in text and broken.parent.name in text


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no results in"):
        build_report(tmp_path / "none", tmp_path / "out")
    Store(tmp_path / "empty")
    with pytest.raises(BenchError, match="no finished cell"):
        build_report(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pictures_case_is_told_by_the_records_split(tmp_path: Path) -> None:
    """By the safe name of its file, and by the plain one of older records."""
    store = Store(tmp_path)
    record = make_record("scratch", "phantom_ct", "5", 0)
    odd = ("../../scan 1", "patient/2", "case 3", "case_4")
    record = record.model_copy(update={"split": record.split.model_copy(update={"test": odd})})
    names = [*(file_name(case, ".png") for case in odd[:2]), "case 3.png", "case_4.png"]
    assert not any("/" in name for name in names)
    cases = make_cases("scratch", "phantom_ct", "5", 0)
    pictures = {f"slices/{name}": b"picture" for name in names}
    store.write(record, cases, make_history(1.0), pictures)
    found = read_slices([record], {record.key: store.folder(record.cell)})
    assert {picture.case: picture.path.name for picture in found} == dict(
        zip(odd, names, strict=True)
    )


def test_rows_of_an_ablation_are_told_apart_by_their_settings() -> None:
    def record(pretraining: str, corpus: str = "brats2021", **own: float) -> dict[str, Any]:
        cell = {"method": "brainmvp", "backbone": "uniformer3d", "pretraining": pretraining}
        settings = {"pretrain": {"steps": 9}, "methods": {"brainmvp": own}}
        return {"cell": cell, "corpus": corpus, "profile": "paper", "settings": settings}

    records = [
        record("a", lambda_md=0, lambda_cl=0),
        record("b", lambda_cl=0),
        record("c"),
        record("d", "ixi:T1"),
    ]
    board = pd.DataFrame({"pretraining": ["a", "b", "c", "d", "none"]})
    assert list(settings_told(board, records)["settings"]) == [
        "lambda_md 0, lambda_cl 0",
        "lambda_md default, lambda_cl 0",
        "lambda_md default, lambda_cl default",
        "",
        "",
    ]
    assert settings_told(board.head(0), records).empty


def test_facts_of_a_task_name_its_channels_and_what_is_measured() -> None:
    record = make_record("smit", "brats_ped", "5", 0).model_dump(mode="json")
    task = {"modality": "MR", "classes": {"1": "core"}, "channels": ["t1n", "t2f"]}
    regions = {"whole_tumour": [1], "tumour_core": [1]}
    record["settings"] = {"task": {**task, "regions": regions}}
    _, facts = task_facts("brats_ped", [record])
    assert facts["Channels"] == "t1n, t2f" and facts["Targets"] == "whole_tumour, tumour_core"
    record["settings"] = {"task": {**task, "channels": ["image"]}}
    _, facts = task_facts("brats_ped", [record])
    assert "Channels" not in facts and facts["Targets"] == "core"
