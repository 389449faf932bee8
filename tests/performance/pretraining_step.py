"""What a pretraining step of each method costs, relative to ``simmim``: time and peak memory.

Same backbone, batch and crop for all, each method with the settings of its paper; a step is what
the harness does: forward, backward, gradient norm, fused AdamW, and what the method does after it.
Every method has a process of its own, whose high-water mark is its peak; it takes turns with the
one of ``simmim``, because other work on the machine slows both alike. Run by ``make speed``: a JSON
line, then tables. There is no target: it says what a method costs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch

from medssl_bench import registry
from medssl_bench.method import Batch, Method, Place, Progress
from medssl_bench.methods import METHODS
from medssl_bench.networks import build_encoder
from medssl_bench.networks.memory import keep_freed_memory
from medssl_bench.peak import peak_bytes, start_peak
from medssl_bench.training import (
    Compute,
    build_optimizer,
    gradient_norm,
    resolve_precision,
)

REFERENCE = "simmim"
PRECISION = resolve_precision("auto", "cpu")


@dataclass(frozen=True)
class Size:
    """A backbone with a batch that it is timed on."""

    backbone: str
    side: int
    batch: int
    rounds: int

    @property
    def name(self) -> str:
        return f"{self.backbone}, {self.side}^3, batch {self.batch}"


SIZES = (Size("swin_tiny", 48, 2, rounds=5), Size("swin_65m", 64, 2, rounds=3))


def main() -> int:
    """Measure every method and print."""
    # Imported here and forked from, so that no process spends its time on imports.
    methods = [name for name, entry in METHODS.items() if entry.load().requires.trains]
    began = time.perf_counter()
    tables = {size.name: measure(size, methods) for size in SIZES}
    result = {
        "name": "pretraining_step",
        "reference": REFERENCE,
        "tables": tables,
        "threads": torch.get_num_threads(),
        "precision": PRECISION,
        "seconds": round(time.perf_counter() - began),
    }
    print(json.dumps(result))
    for name, rows in tables.items():
        print(f"pretraining step, {name}, {result['threads']} threads, {PRECISION}")
        for row in rows:
            print(
                f"  {row['method']:<15}{row['seconds']:8.2f} s {row['time_ratio']:6.2f} x"
                f"{row['peak_mb']:9.0f} MB {row['memory_ratio']:6.2f} x"
            )
    return 0


def measure(size: Size, methods: list[str]) -> list[dict[str, Any]]:
    """Time all methods on one size, each in turns with the reference; cheapest first."""
    reference = Side(partial(step_of, REFERENCE, size))
    rows: list[dict[str, Any]] = []
    own: list[float] = []
    for method in methods:
        if method == REFERENCE:
            continue
        side = Side(partial(step_of, method, size))
        pairs = [(side.step(), reference.step()) for _ in range(size.rounds)]
        own += [beside for _, beside in pairs]
        rows.append(
            {
                "method": method,
                "seconds": median(seconds for seconds, _ in pairs),
                "time_ratio": median(seconds / beside for seconds, beside in pairs),
                "peak_mb": side.end() / 2**20,
            }
        )
    peak = reference.end() / 2**20
    rows.append({"method": REFERENCE, "seconds": median(own), "time_ratio": 1.0, "peak_mb": peak})
    rows.sort(key=lambda row: row["time_ratio"])
    for row in rows:
        row["memory_ratio"] = row["peak_mb"] / peak
    return [{k: v if k == "method" else round(v, 3) for k, v in row.items()} for row in rows]


class Side:
    """A process that takes one step of something whenever it is asked to."""

    def __init__(self, build: Callable[[], Callable[[int], None]]) -> None:
        """Start it, let it build its step and wait until it has taken one to warm up."""
        context = get_context("fork")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(build, other), daemon=True)
        self._process.start()
        other.close()
        self._pipe.recv()

    def step(self) -> float:
        """Take one step; returns its wall time in seconds."""
        self._pipe.send(True)
        return float(self._pipe.recv())

    def end(self) -> int:
        """End the process; returns its peak memory in bytes."""
        self._pipe.send(False)
        peak = int(self._pipe.recv())
        self._process.join()
        return peak


def serve(build: Callable[[], Callable[[int], None]], pipe: Connection) -> None:
    """Take a step for every True on the pipe, and send its time; send the peak for a False."""
    start_peak("cpu")
    step = build()
    step(0)
    pipe.send(None)
    number = 0
    while pipe.recv():
        number += 1
        start = time.perf_counter()
        step(number)
        pipe.send(time.perf_counter() - start)
    pipe.send(peak_bytes("cpu"))


def step_of(name: str, size: Size) -> Callable[[int], None]:
    """Return a function that takes an optimizer step on random crops, as the stage does."""
    keep_freed_memory()
    torch.manual_seed(0)
    kind, crop = registry.methods.load(name), (size.side,) * 3
    method = kind(build_encoder(size.backbone), kind.Config(), crop)
    method.to(memory_format=torch.channels_last_3d)
    fabric = Compute("cpu", PRECISION, torch.get_num_threads()).fabric()
    optimizer = build_optimizer(method, 2e-4, 0.05, (0.9, 0.999))
    model, optimizer = fabric.setup(method, optimizer)
    model.train()

    def step(number: int) -> None:
        progress = Progress(number, 100)
        losses = model(random_batch(method, size.batch, progress))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(losses.total)
        method.before_update(progress)
        gradient_norm(method.parameters(), None)
        optimizer.step()
        method.after_step(progress)

    return step


def random_batch(method: Method, scans: int, progress: Progress) -> Batch:
    """Return noise in [0, 1] as a method takes it: views, or two modalities or more of each case.

    What the method draws depends on the step alone.
    """
    requires, crop = method.requires, method.crop
    generators = tuple(torch.Generator().manual_seed(progress.step + i) for i in range(scans))
    if requires.min_modalities == 1:
        views = tuple(torch.rand(scans, 1, *crop) for _ in range(requires.views))
        return Batch(views, progress, generators)
    names = method.config.modalities[: requires.min_modalities]
    channels = tuple({name: torch.rand(crop) for name in names} for _ in range(scans))
    places = (Place((0, 0, 0), crop),) * scans
    return Batch((), progress, generators, channels=channels, places=places)


if __name__ == "__main__":
    sys.exit(main())
