"""``bench report`` of a paper-sized results folder: 20,000 cells, a million case rows.

Twelve methods, nine tasks, five numbers of shots, fifteen draws of three seeds: made once below the
temporary folder, then reported. Says seconds (of CPU too, which others on the machine stretch
less), memory and the size of the page; with Chromium and playwright also how soon the page can be
used, and how fast a filter and a drill-down answer. Run from the repository's root:

    python tests/performance/report.py [FOLDER]
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from medssl_bench.digest import digest
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
from medssl_bench.store import Store

METHODS = (
    *("scratch", "simmim", "smit", "dino", "ibot", "contrastive", "rotation", "inpainting"),
    *("reconstruction", "swinunetr", "jigsaw", "mae"),
)
TASKS = (*("amos_ct", "amos_mri", "lits", "kits", "lung_ct", "lung_mri", "vs", "la", "upenn_gbm"),)
SHOTS = {"5": 15, "10": 15, "20": 15, "40": 15, "full": 1}
"""Shots to draws."""
SEEDS = {"full": 5}
CASES = tuple(f"case_{number:02d}" for number in range(10))
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
        settings={"finetune": {"steps": 1000, "batch": 4, "learning_rate": 1e-4}},
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
    rng = np.random.default_rng(abs(hash((method, task, shots, draw, seed))))
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


def build(root: Path, page: Path) -> None:
    """Write the page and say what it took; targets are 60 s and 4 GB."""
    from medssl_bench.analysis.leaderboard.page import build_report

    began = time.perf_counter()
    build_report(root, page)
    seconds = time.perf_counter() - began
    mine, others = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    work = sum(one.ru_utime + one.ru_stime for one in (mine, others))
    own, child = mine.ru_maxrss, others.ru_maxrss
    size = (page / "index.html").stat().st_size / 2**20
    data = sum(file.stat().st_size for file in (page / "data").iterdir()) / 2**20
    print(
        f"built in {seconds:.0f} s (60 asked), {work:.0f} s of CPU; peak memory"
        f" {own / 2**20:.1f} GiB (4 asked), and of its processes at most {child / 2**20:.1f} each;"
        f" page {size:.1f} MiB, data {data:.0f} MiB"
    )


def open_page(page: Path) -> None:
    """Say how soon the page can be used, and how fast it answers."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        print("no chromium or no playwright: the page was not opened")
        return
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
        seconds = time.perf_counter() - began
        print(f"opened to interactive in {seconds:.2f} s (2 asked), {used():.2f} s of CPU")
        for what, script in {
            "filter by task": "choose({task: 'lits'})",
            "filter by shots": "choose({task: '', shots: '10'})",
            "rank by HD95": "choose({shots: '', metric: 'hd95'})",
        }.items():
            before = used()
            took = tab.evaluate(TIMED.replace("ACTION", script))
            work = 1000 * (used() - before)
            print(f"{what}: {took:.0f} ms to the next frame (100 asked), {work:.0f} ms of CPU")
        for what, script, shown in (
            ("compare, with its task's data", "view: 'compare', ctask: 'kits'", "#compared svg"),
            ("cells of a task", "view: 'provenance', of: 'vs'", "#cell-table"),
        ):
            before, began = used(), time.perf_counter()
            tab.evaluate(f"choose({{{script}}})")
            tab.wait_for_selector(shown)
            seconds, work = time.perf_counter() - began, used() - before
            print(f"{what}: {seconds:.2f} s (1 asked), {work:.2f} s of CPU")
        browser.close()


TIMED = """() => new Promise(resolve => {
  const began = performance.now();
  ACTION;
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
})"""


def main(root: Path) -> None:
    """Make, report, open."""
    began = time.perf_counter()
    make(root)
    cells = (root / "made").read_text().strip()
    print(f"{cells} cells, made or found in {time.perf_counter() - began:.0f} s")
    page = root.with_name(root.name + "-page")
    shutil.rmtree(page, ignore_errors=True)
    build(root, page)
    open_page(page)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "bench-large"))
