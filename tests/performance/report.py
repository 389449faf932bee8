"""``bench report`` of a paper-sized results folder: 20,000 cells, a million case rows.

Twelve methods, nine tasks of CT and of MR with the same cases, five numbers of shots, fifteen draws
of three seeds: made once below the temporary folder, then reported. Says seconds (of CPU too, which
others on the machine stretch less), memory and the size of the page; with Chromium and playwright
also how soon the page can be used, and how fast a filter and a drill-down answer.

The ratio is of CPU seconds in the same run: one task's records read, averaged and its pairs tested,
against what pandas and SciPy offer for that, record by record and pair by pair. The plain way
leaves out what the harness does besides: checksums, validation, intervals, and pairs at other than
full shots. Run from the repository's root:

    python tests/performance/report.py [FOLDER]

A JSON line, then words; exit code 1 where values differ or anything asked is missed.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy import stats

from medssl_bench.analysis.leaderboard.page import build_report
from medssl_bench.analysis.leaderboard.pairs import compare_all
from medssl_bench.analysis.statistics.panel import panels_in, scored
from medssl_bench.analysis.tables import board_of, prepare
from medssl_bench.digest import digest, seed_from
from medssl_bench.record import (
    Cell,
    Cost,
    Digests,
    Draw,
    Git,
    Leaks,
    Machine,
    Pretrained,
    Record,
    Split,
)
from medssl_bench.record import utc_now as now
from medssl_bench.record_folders import read_folders
from medssl_bench.store import Store
from medssl_bench.tables import join

METHODS = (
    *("scratch", "simmim", "smit", "dino", "ibot", "contrastive", "rotation", "inpainting"),
    *("reconstruction", "swinunetr", "jigsaw", "mae"),
)
TASKS = (*("amos_ct", "amos_mri", "lits", "kits", "lung_ct", "lung_mri", "vs", "la", "upenn_gbm"),)
MR = {"amos_mri", "lung_mri", "vs", "la", "upenn_gbm"}
SHOTS = {"5": 15, "10": 15, "20": 15, "40": 15, "full": 1}
"""Shots to draws."""
SEEDS = {"full": 5}
CASES = tuple(f"case_{number:02d}" for number in range(10))
METRICS = ("dice", "hd95")
SECONDS, GIB, RATIO, EQUAL = 60.0, 4.0, 2.0, 1e-12
TARGETS = ("liver", "spleen", "kidney_left", "pancreas", "tumour")


def make_record(method: str, task: str, shots: str, draw: int, seed: int) -> Record:
    """Return the record of one cell, complete."""
    pretrained = method != "scratch"
    cell = Cell(
        method=method,
        pretraining=digest(method) if pretrained else "none",
        backbone="swin_tiny",
        task=task,
        shots=shots,
        draw=draw,
        seed=seed,
        protocol=digest({"task": task, "shots": shots}),
    )
    train = tuple(f"train_{number:03d}" for number in range(100))
    used = train if shots == "full" else train[draw : draw + int(shots)]
    return Record(
        cell=cell,
        key=cell.key,
        profile="paper",
        corpus="ct_public" if pretrained else None,
        pretrain_seed=0 if pretrained else None,
        pretrained=Pretrained(
            steps=1000, batch=8, views=2, crop=(96, 96, 96), crops=16_000, negatives=0,
            volumes=10_000, devices=1, collapsed=False,
        )
        if pretrained
        else None,
        metrics={"mean": {"dice_mean": 0.5}},
        definitions={"dice": "dice/1", "hd95": "hd95_max_directed/1"},
        split=Split(digest=digest("split"), train=train, test=CASES),
        draw=Draw(digest=digest([shots, draw]), cases=used, labelled_total=len(used)),
        digests=Digests(weights=digest(cell.key), split=digest("split")),
        leaks=Leaks(checked=True),
        settings={
            "finetune": {"steps": 1000, "batch": 4, "learning_rate": 1e-4},
            "task": {"modality": "MR" if task in MR else "CT"},
        },
        versions={"task": 1},
        git=Git(sha="0" * 40, dirty=False),
        libraries={"torch": "2.14.1", "monai": "1.6.1"},
        machine=Machine(device="a GPU", threads=8, instruction_set="AVX512", precision="bf16"),
        cost=Cost(
            wall_hours=0.5, device_hours=0.5, peak_memory_bytes=10**10, samples_per_second=20.0,
            steps=1000, crops=4000,
        ),
        seeds={"draw": draw, "seed": seed},
        started=now(),
        finished=now(),
    )  # fmt: skip


def make_cases(method: str, task: str, shots: str, draw: int, seed: int) -> pd.DataFrame:
    """Return case rows with the spread of real ones."""
    rng = np.random.default_rng(seed_from(method, task, shots, draw, seed))
    count = len(CASES) * len(TARGETS)
    dice = 0.6 + 0.01 * METHODS.index(method) + 0.1 * rng.standard_normal(count)
    dice = np.clip(dice, 0.01, 0.99)
    distance = 40 * (1 - dice)
    return pd.DataFrame(
        {
            "case": np.repeat(CASES, len(TARGETS)),
            "target": TARGETS * len(CASES),
            "dice": dice,
            "hd95": distance,
            "hd95_pooled": 0.9 * distance,
            "nsd": dice,
            "status": "ok",
            "diagonal_mm": 500.0,
        }
    )


def write_task(root: Path, task: str) -> int:
    """Publish all cells of a task, without waiting for the disk."""
    os.fsync = lambda _: None
    store, count = Store(root), 0
    steps = np.arange(20, 1001, 20)
    for shots, draws in SHOTS.items():
        for method in METHODS:
            for draw in range(draws):
                for seed in range(SEEDS.get(shots, 3)):
                    loss = np.exp(-steps / 400) + 0.4
                    store.write(
                        make_record(method, task, shots, draw, seed),
                        make_cases(method, task, shots, draw, seed),
                        pd.DataFrame({"step": steps, "loss": loss}),
                    )
                    count += 1
    return count


def make(root: Path) -> None:
    """Make the results folder unless it is there."""
    if (root / "made").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    Store(root)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        counts = list(pool.map(write_task, [root] * len(TASKS), TASKS))
    (root / "made").write_text(f"{sum(counts)}\n")


def build(root: Path, page: Path) -> dict[str, float]:
    """Write the page and return what it took, in seconds, GiB and MiB."""
    began, before = time.perf_counter(), cpu_seconds()
    build_report(root, page)
    seconds, work = time.perf_counter() - began, cpu_seconds() - before
    own, child = (
        resource.getrusage(which).ru_maxrss / 2**20
        for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    size = (page / "index.html").stat().st_size / 2**20
    data = sum(file.stat().st_size for file in (page / "data").iterdir()) / 2**20
    return {
        "seconds": seconds, "cpu_s": work, "own_gib": own, "process_gib": child, "page_mib": size,
        "data_mib": data,
    }  # fmt: skip


def cpu_seconds() -> float:
    """Return the seconds of CPU of this process and of those it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)


Compared = tuple[pd.DataFrame, dict[tuple[str, str, str], float]]
"""Means and SDs of each (method, shots), and p of each metric and pair at full shots."""


def by_harness(folder: Path) -> Compared:
    """Read one task's records, average them and test all pairs, as ``bench report`` does."""
    parts = read_folders(sorted(folder.iterdir()), ["cases"])
    cases = join([part.tables["cases"] for part in parts])
    prepared, p = prepare(cases), {}
    for metric in METRICS:
        for board in compare_all(panels_in(scored(cases, metric, prepared=prepared), metric)):
            if board.shots == "full":
                p.update({(metric, *sorted((x.first, x.second))): x.p for x in board.pairs})
    return board_of(prepared).set_index(["method", "shots"]), p


def plainly(folder: Path) -> Compared:
    """Do so with pandas and SciPy alone; every target is present, so none needs care."""
    found = []
    for one in sorted(folder.iterdir()):
        cell = json.loads((one / "record.json").read_text())["cell"]
        words = {name: cell[name] for name in ("method", "shots", "draw", "seed")}
        found.append(pd.read_parquet(one / "cases.parquet").assign(**words))
    cases = pd.concat(found).groupby([*words, "case"])[[*METRICS]].mean()
    runs = cases.groupby([*words]).mean()
    means = runs.groupby(["method", "shots", "draw"]).mean().groupby(["method", "shots"]).mean()
    spread = runs.groupby(["method", "shots"]).std().add_suffix("_sd")
    full, p = cases.xs("full", level="shots").groupby(["method", "case"]).mean(), {}
    for first, second in combinations(METHODS, 2):
        gap = full.loc[first] - full.loc[second]
        for metric in METRICS:
            p[metric, *sorted((first, second))] = stats.wilcoxon(gap[metric]).pvalue
    return means.join(spread), p


def compare(folder: Path) -> dict[str, Any]:
    """Time both ways on one task; returns CPU seconds, and the largest difference of any value."""
    theirs, (means, p) = timed(plainly, folder)
    ours, (board, our_p) = timed(by_harness, folder)
    gap = (board[means.columns].reindex(means.index) - means).abs().to_numpy()
    largest = max(float(gap.max()), *(abs(p[pair] - our_p[pair]) for pair in p))
    count = gap.size + len(p)
    return {"ours_s": ours, "theirs_s": theirs, "max_difference": largest, "values": count}


Answer = TypeVar("Answer")


def timed(work: Callable[[Path], Answer], folder: Path) -> tuple[float, Answer]:
    """Return seconds of CPU and what was computed."""
    before = cpu_seconds()
    answer = work(folder)
    return cpu_seconds() - before, answer


def open_page(page: Path) -> dict[str, tuple[float, float, float]]:
    """Return how soon the page can be used and answers: seconds, those asked, and of CPU."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("no chromium or no playwright: the page was not opened", file=sys.stderr)
        return {}
    took = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable")

        def used() -> float:
            """Return the seconds of CPU of the page's main thread so far."""
            metrics = session.send("Performance.getMetrics")["metrics"]
            return next(one["value"] for one in metrics if one["name"] == "ThreadTime")

        began = time.perf_counter()
        tab.goto((page / "index.html").as_uri())
        tab.wait_for_selector("body[data-ready]")
        took["opened to interactive"] = (time.perf_counter() - began, 2.0, used())
        for what, script in {
            "filter by task": "choose({task: 'lits'})",
            "filter by shots": "choose({task: '', shots: '10'})",
            "rank by HD95": "choose({shots: '', metric: 'hd95'})",
        }.items():
            before = used()
            seconds = tab.evaluate(TIMED.replace("ACTION", script)) / 1000
            took[what] = (seconds, 0.1, used() - before)
        for what, script, shown in (
            ("compare, with its task's data", "view: 'compare', ctask: 'kits'", "#compared svg"),
            ("cells of a task", "view: 'provenance', of: 'vs'", "#cell-table"),
        ):
            before, began = used(), time.perf_counter()
            tab.evaluate(f"choose({{{script}}})")
            tab.wait_for_selector(shown)
            took[what] = (time.perf_counter() - began, 1.0, used() - before)
        browser.close()
    return took


TIMED = """() => new Promise(resolve => {
  const began = performance.now();
  ACTION;
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
})"""


def main(root: Path) -> int:
    """Make, report, compare and open; returns the exit code."""
    began = time.perf_counter()
    make(root)
    cells = (root / "made").read_text().strip()
    print(f"{cells} cells, made or found in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    page = root.with_name(root.name + "-page")
    shutil.rmtree(page, ignore_errors=True)
    built, one, opened = build(root, page), compare(root / "records" / "kits"), open_page(page)
    ratio, equal = one["theirs_s"] / one["ours_s"], one["max_difference"] < EQUAL
    ok = equal and ratio >= RATIO and built["seconds"] <= SECONDS and built["own_gib"] <= GIB
    ok = ok and all(seconds <= asked for seconds, asked, _ in opened.values())
    result = {
        "name": "report", "what": f"{cells} cells; ratio: aggregates and tests of one task",
        **one, "ratio": ratio, "target": RATIO, "equal": equal, **built, "target_seconds": SECONDS,
        **{what: seconds for what, (seconds, *_) in opened.items()}, "ok": ok,
    }  # fmt: skip
    print(json.dumps({name: _short(value) for name, value in result.items()}))
    print(
        f"one task: {one['ours_s']:.1f} s of CPU, {one['theirs_s']:.1f} s by pandas and SciPy"
        f" alone: x{ratio:.1f} (at least {RATIO:g}); {one['values']} values within"
        f" {one['max_difference']:.0e}\n"
        f"built in {built['seconds']:.0f} s ({SECONDS:g} asked), {built['cpu_s']:.0f} s of CPU;"
        f" peak memory {built['own_gib']:.1f} GiB ({GIB:g} asked), and of its processes at most"
        f" {built['process_gib']:.1f} each; page {built['page_mib']:.1f} MiB, data"
        f" {built['data_mib']:.0f} MiB"
    )
    for what, (seconds, asked, work) in opened.items():
        print(f"{what}: {seconds:.3f} s ({asked:g} asked), {work:.3f} s of CPU")
    return 0 if ok else 1


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "bench-large"
    sys.exit(main(given))
