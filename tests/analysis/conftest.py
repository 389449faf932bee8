"""A results folder as runs leave it: three methods, two tasks, two draws of five shots and full."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

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
    Reuse,
    Split,
)
from medssl_bench.record import utc_now as now
from medssl_bench.stages.slices import overlay
from medssl_bench.store import Store

TARGETS = ("liver", "spleen", "lesion")
CASES = ("case_01", "case_02", "case_03", "case_04")
SKILL = {"scratch": 0.62, "simmim": 0.70, "smit": 0.74}


def make_record(
    method: str,
    task: str,
    shots: str,
    draw: int,
    backbone: str = "swin_tiny",
    scans: int | None = None,
    **changes: Any,
) -> Record:
    """Return a complete record of one cell."""
    size = {} if scans is None else {"scans": scans}
    key = "none" if method == "scratch" else digest({"method": method, **size})
    cell = Cell(
        method=method,
        pretraining=key,
        backbone=backbone,
        task=task,
        shots=shots,
        draw=draw,
        seed=0,
        protocol=digest({"task": task}),
    )
    train = tuple(f"train_{number:02d}" for number in range(20))
    used = train[: 20 if shots == "full" else int(shots)]
    fields: dict[str, Any] = {
        "cell": cell,
        "key": cell.key,
        "profile": "demo",
        "corpus": None if method == "scratch" else "phantom_ct",
        "pretrain_seed": None if method == "scratch" else 0,
        "pretrained": scans
        and Pretrained(
            steps=10,
            batch=1,
            views=1,
            crop=(32, 32, 32),
            crops=10,
            negatives=0,
            volumes=scans,
            devices=1,
            collapsed=False,
        ),
        "metrics": {},
        "definitions": {"dice": "dice/1: 2|A&B|/(|A|+|B|)", "hd95": "hd95_max_directed/1: mm"},
        "split": Split(digest=digest("split"), train=train, test=CASES),
        "draw": Draw(digest=digest([shots, draw]), cases=used, labelled_total=len(used)),
        "digests": Digests(weights=digest(cell.key), split=digest("split")),
        "leaks": Leaks(checked=True),
        "settings": {},
        "versions": {"task": 1},
        "git": Git(sha="41cfa42" + "0" * 33, dirty=False),
        "libraries": {"torch": "2.14.1", "monai": "1.6.1"},
        "machine": Machine(
            device="a CPU", threads=1, instruction_set="AVX512", precision="32-true"
        ),
        "cost": Cost(
            wall_hours=0.02,
            device_hours=0,
            peak_memory_bytes=10**9,
            samples_per_second=20.0,
            steps=100,
            crops=200,
        ),
        "similarity": Reuse(
            crops=64, group=16, cells=8, crop=(32, 32, 32), attention_crops=16, seconds=2.0
        ),
        "seeds": {"draw": draw, "seed": 0},
        "started": now(),
        "finished": now(),
    }
    return Record(**{**fields, **changes})


def make_cases(method: str, task: str, shots: str, draw: int) -> pd.DataFrame:
    """Return plausible case rows; the lesion is absent from one case and missed in another."""
    rng = np.random.default_rng(seed_from(method, task, shots, draw) % 2**32)
    case_effect = {case: 0.03 * number for number, case in enumerate(CASES)}
    rows = []
    for case in CASES:
        for target in TARGETS:
            status = "ok"
            if target == "lesion" and case == "case_02":
                status = "ref_empty" if draw else "both_empty"
            if target == "lesion" and case == "case_03" and method == "scratch":
                status = "pred_empty"
            dice = SKILL.get(method, 0.6) + case_effect[case] + 0.12 * (shots == "full")
            dice += 0.02 * rng.standard_normal() - 0.2 * (target == "lesion")
            both, one = status == "both_empty", status in ("pred_empty", "ref_empty")
            rows.append(
                {
                    "case": case,
                    "target": target,
                    "dice": math.nan if both else 0.0 if one else dice,
                    "hd95": math.nan if both else math.inf if one else 30 * (1 - dice),
                    "status": status,
                    "diagonal_mm": 240.0,
                }
            )
    return pd.DataFrame(rows)


def make_history(level: float) -> pd.DataFrame:
    """Return a falling loss curve."""
    step = np.arange(2, 102, 2)
    noise = np.random.default_rng(int(level * 1000)).normal(0, 0.02, step.size)
    return pd.DataFrame({"step": step, "loss": level * np.exp(-step / 60) + 0.4 + noise})


def make_picture(case: str, skill: float) -> bytes:
    """Return a picture of two organs, predicted the more shifted the lower the skill."""
    x, y, _ = np.mgrid[:48, :40, :4].astype(float)
    body = ((x - 24) / 22) ** 2 + ((y - 20) / 18) ** 2 < 1
    labels = {}
    for name, shift in (("reference", 0.0), ("prediction", 12 * (1 - skill))):
        label = np.zeros(x.shape, np.uint8)
        label[(x - 16 - shift) ** 2 + (y - 22) ** 2 < 70] = 1
        label[(x - 36) ** 2 + (y - 18 - shift) ** 2 < 25] = 2
        labels[name] = label
    noise = np.random.default_rng(len(case)).normal(0, 0.05, x.shape)
    image = 0.45 * body + 0.2 * (labels["reference"] > 0) + noise * body
    return overlay({"CT": image}, labels["reference"], labels["prediction"], (1.5, 1.5, 2.0))


LAYERS = ("stage1.block1", "stage2.block1", "stage2.block2", "stage3.block1")


def make_reuse(method: str, shots: str, draw: int) -> dict[str, bytes]:
    """Return the tables of similarity: later layers are kept less, and less by worse methods."""
    kept = np.linspace(
        1, SKILL.get(method, 0.6) - 0.02 * draw - 0.1 * (shots == "full"), len(LAYERS)
    )
    cka = pd.DataFrame(
        [
            {
                "layer_a": a, "layer_b": b, "cka": kept[max(i, j)] - 0.1 * abs(i - j),
                "n": 64, "group": 16,
            }
            for i, a in enumerate(LAYERS)
            for j, b in enumerate(LAYERS)
        ]
    )  # fmt: skip
    looks = pd.DataFrame(
        [
            {
                "encoder": encoder, "layer": layer, "head": head,
                "distance_mm": (10 + 5 * head) * 2**place * kept[place],
                "entropy": 3.0 + 0.5 * head,
                "uniform_distance_mm": 20.0 * 2**place, "uniform_entropy": math.log(64), "n": 16,
            }
            for encoder in ("before", "after")
            for place, layer in enumerate(LAYERS)
            for head in range(2)
        ]
    )  # fmt: skip
    tables = {"similarity": cka, "attention": looks}
    return {f"{name}.parquet": table.to_parquet(index=False) for name, table in tables.items()}


def write_cell(store: Store, method: str, task: str, shots: str, draw: int) -> None:
    """Publish one cell."""
    skill = SKILL.get(method, 0.6)
    store.write(
        make_record(method, task, shots, draw),
        make_cases(method, task, shots, draw),
        make_history(2.4 - skill + 0.05 * draw),
        {f"slices/{case}.png": make_picture(case, skill) for case in CASES[:2]}
        | make_reuse(method, shots, draw),
    )


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench-results")
    store = Store(root)
    for method in SKILL:
        if method != "scratch":
            key = digest({"method": method})
            weights = {"weight": torch.zeros(1)}
            store.write_pretraining(key, {"method": method}, weights, make_history(1.8))
        for task in ("phantom_ct", "phantom_mri"):
            for shots, draw in (("5", 0), ("5", 1), ("full", 0)):
                write_cell(store, method, task, shots, draw)
    return root


@pytest.fixture(scope="session")
def grown_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scratch and one method pretrained on 10 and 100 scans, with two backbones and two draws."""
    store = Store(tmp_path_factory.mktemp("grown"))
    for draw in (0, 1):
        for backbone in ("swin_tiny", "swin_65m"):
            for method, scans in (("scratch", None), ("smit", 10), ("smit", 100)):
                record = make_record(method, "phantom_ct", "5", draw, backbone, scans)
                cases = make_cases(method, "phantom_ct", "5", draw)
                cases["dice"] += (0.001 * (scans or 0) + 0.05 * (backbone != "swin_tiny")) * (
                    cases["status"] == "ok"
                )
                store.write(record.model_copy(update={"similarity": None}), cases, make_history(2))
    return store.root


@pytest.fixture(scope="session")
def case_table(results_folder: Path) -> pd.DataFrame:
    return Store(results_folder, read_only=True).cases()
