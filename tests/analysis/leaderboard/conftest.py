"""One Chromium and one report for every file here; each visit is watched.

The report has what a page must bear: two tasks of segmentation and one of classification, few and
full shots, draws x seeds, two backbones and profiles, printed rows of papers, a method that is
good by Dice and bad by distance, one that lacks a draw, and one that lacks a task.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medssl_bench.analysis.leaderboard.page import build_report
from medssl_bench.digest import seed_from
from medssl_bench.record import Cell, Leaks, Record, Split
from medssl_bench.store import Store

from ..conftest import make_history, make_picture, make_record, make_reuse

MOMENT = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
TASKS = {"amos_ct": "CT", "phantom_mri": "MRI"}
CASES = tuple(f"case_{number:02d}" for number in range(1, 8))
TARGETS = ("liver", "spleen", "lesion")
SKILL = {
    "scratch": 0.55, "simmim": 0.62, "inpainting": 0.64, "dino": 0.66, "smit": 0.70,
    "swinunetr": 0.72,
}  # fmt: skip
LACKS_A_DRAW = "inpainting"
LACKS_A_TASK = "dino"


def record_of(
    method: str,
    task: str,
    shots: str,
    draw: int,
    seed: int = 0,
    modality: str = "",
    cases: tuple[str, ...] = CASES,
    **changes: Any,
) -> Record:
    """Return a record whose seed and modality are given too."""
    record = make_record(method, task, shots, draw, **changes)
    split = Split(digest=record.split.digest, train=record.split.train, test=cases)
    cell = Cell(**{**record.cell.model_dump(), "seed": seed})
    return record.model_copy(
        update={
            "cell": cell,
            "key": cell.key,
            "split": split,
            "settings": {"task": {"modality": modality}},
        }
    )


def cases_of(record: Record, names: tuple[str, ...] = CASES) -> pd.DataFrame:
    """Return case rows: lesions are missed, falsely found, or absent, and rightly not found."""
    cell = record.cell
    rng = np.random.default_rng(
        seed_from(cell.method, cell.task, cell.shots, cell.draw, cell.seed, cell.backbone) % 2**32
    )
    skill = SKILL.get(cell.method, 0.6) + 0.1 * (cell.shots == "full")
    rows = []
    for place, case in enumerate(names):
        for target in TARGETS:
            status = "ok"
            if target == "lesion" and place in (1, 2):
                wrong = cell.method == "swinunetr" or (cell.draw == 1 and place == 1)
                status = "ref_empty" if wrong else "both_empty"
            if target == "lesion" and place == 3 and cell.method in ("scratch", "simmim"):
                status = "pred_empty"
            dice = skill + 0.02 * place + 0.03 * rng.standard_normal() - 0.2 * (target == "lesion")
            far = 70 if cell.method == "swinunetr" else 30
            both, one = status == "both_empty", status in ("pred_empty", "ref_empty")
            rows.append(
                {
                    "case": case, "target": target, "status": status, "diagonal_mm": 240.0,
                    "dice": math.nan if both else 0.0 if one else dice,
                    "hd95": math.nan if both else math.inf if one else far * (1 - dice),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def classified(record: Record) -> pd.DataFrame:
    """Return case rows of a task with two classes."""
    rng = np.random.default_rng(seed_from(record.key) % 2**32)
    rows = []
    for place, case in enumerate(CASES):
        true = ("benign", "malignant")[place % 2]
        right = float(np.clip(SKILL[record.cell.method] + 0.2 * rng.standard_normal(), 0.02, 0.98))
        chance = {name: right if name == true else 1 - right for name in ("benign", "malignant")}
        rows += [
            {
                "case": case, "target": name, "status": "classified", "probability": value,
                "predicted": max(chance, key=lambda one: chance[one]), "true": true,
                "dice": math.nan, "hd95": math.nan, "diagonal_mm": math.nan,
            }
            for name, value in chance.items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def publish(store: Store, record: Record) -> None:
    """Write a cell, with pictures and similarity where it is a first run."""
    cell = record.cell
    skill = SKILL.get(cell.method, 0.6)
    extra: dict[str, bytes] = {}
    if cell.draw == cell.seed == 0 and cell.shots == "5":
        extra = {f"slices/{case}.png": make_picture(case, skill) for case in CASES[:2]}
        if cell.task == "phantom_mri":
            extra |= make_reuse(cell.method, cell.shots, cell.draw)
    store.write(record, cases_of(record), make_history(2.4 - skill + 0.05 * cell.draw), extra)


def make_store(root: Path) -> Store:
    """Write the results that the report is made of."""
    store = Store(root)
    for task, modality in TASKS.items():
        for method in SKILL:
            if (method, task) == (LACKS_A_TASK, "phantom_mri"):
                continue
            for draw in (0, 1):
                if (method, task, draw) == (LACKS_A_DRAW, "amos_ct", 1):
                    continue
                for seed in (0, 1):
                    leaks = Leaks(checked=method != "simmim", found=())
                    publish(store, record_of(method, task, "5", draw, seed, modality, leaks=leaks))
            publish(store, record_of(method, task, "full", 0, 0, modality))
    alone = {"backbone": "swin_65m", "profile": "paper"}
    publish(store, record_of("smit", "phantom_mri", "full", 0, 0, "MRI", **alone))
    for method in ("scratch", "smit"):
        for draw in (0, 1):
            record = record_of(method, "lesion_type", "5", draw, 0, "CT", similarity=None)
            store.write(record, classified(record), make_history(1.0))
    return store


@dataclass(frozen=True)
class Made:
    """A report and what it was made of."""

    folder: Path
    store: Store

    @property
    def address(self) -> str:
        """Where a browser opens it."""
        return (self.folder / "index.html").as_uri()

    def table(self, name: str) -> pd.DataFrame:
        """Read one of its files."""
        return pd.read_parquet(self.folder / "tables" / f"{name}.parquet")

    def page_data(self) -> dict[str, Any]:
        """Return what the page's script reads."""
        text = (self.folder / "index.html").read_text(encoding="utf-8")
        start = text.index('id="page-data">') + len('id="page-data">')
        data: dict[str, Any] = json.loads(text[start : text.index("</script>", start)])
        return data


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("page")
    store = make_store(root / "results")
    seen = store.folder(next(store.records()).cell).relative_to(store.root / "records")
    viewer = store.root / "views" / seen / "case_1.html"
    viewer.parent.mkdir(parents=True)
    viewer.write_text("<title>case_1 in 3D</title>")
    return Made(build_report(store.root, root / "report", MOMENT).parent, store)


@pytest.fixture(scope="session")
def chromium(playwright: Any) -> Iterator[Any]:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed: apt install chromium")
    browser = playwright.chromium.launch(
        executable_path=found, args=["--no-sandbox", "--disable-gpu"]
    )
    yield browser
    browser.close()


@dataclass
class Watch:
    """What a page asked for and complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def follow(self, page: Any) -> None:
        """Listen to a page."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()


Visit = Callable[..., Any]


@pytest.fixture
def visit(chromium: Any) -> Iterator[Visit]:
    """Open a report in a context of its own; afterwards nothing may have left its folder."""
    watch, contexts, folders = Watch(), [], set()

    def open_page(made: Made, hash_: str = "", width: int = 1280, **options: Any) -> Any:
        settings = {"viewport": {"width": width, "height": 900}, "reduced_motion": "reduce"}
        context = chromium.new_context(**{**settings, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        folders.add(made.folder.as_uri() + "/")
        page = context.new_page()
        watch.follow(page)
        page.watch = watch
        page.goto(made.address + hash_)
        if options.get("java_script_enabled", True):
            page.wait_for_selector("body[data-ready=yes]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    strange = [
        url for url in watch.requests
        if not url.startswith(("data:", "blob:file:"))
        and not any(url.startswith(one) for one in folders)
    ]  # fmt: skip
    assert strange == []
    assert watch.complaints == []


GRID = """table => [...table.tBodies[0].rows].filter(row => row.offsetHeight > 0).map(row =>
  [...row.cells].filter(cell => cell.offsetWidth > 0).map(cell => {
    if (cell.matches("td.missing")) return null;
    const copy = cell.cloneNode(true);
    copy.querySelectorAll(".unseen, .moved, small, .missing").forEach(one => one.remove());
    return copy.textContent.replace(/\\s+/g, " ").trim();
  }))"""


def grid(table: Any) -> list[list[str | None]]:
    """Return what is seen of a table, row by row; None is missing."""
    found: list[list[str | None]] = table.evaluate(GRID)
    return found


def heads(table: Any) -> list[str]:
    """Return the headers that are seen."""
    found: list[str] = table.evaluate(
        "table => [...table.tHead.rows[0].cells].filter(cell => cell.offsetWidth > 0)"
        ".map(cell => cell.innerText.trim())"
    )
    return found


def board(page: Any, task: str, shots: str) -> Any:
    """Return the table of a task and number of shots in the overview."""
    return page.locator(f'.board[data-task="{task}"][data-shots="{shots}"] table')
