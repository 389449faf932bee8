"""A training step of the 64.7 M segmentor at 96^3, batch one, against MONAI's ``SwinUNETR``.

MONAI's side is plain float32 with ``torch.optim.AdamW``, twice: as its tutorials build it
(``feature_size=48``, two blocks a stage, window 7, ``use_checkpoint=True``) and with the depths,
heads and window of ours, which is the fairer network. Ours runs as the harness runs it: fused
AdamW, freed memory kept, and bf16 autocast where the processor multiplies matrices in bf16 (AMX),
else float32. Each side has a process of its own and they take turns; the fastest step of each
counts. Run by ``make speed``: a JSON line, then a table; exit code 1 where the target is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

TARGET = 2.8
SIDE, CLASSES = 96, 2
TURNS = ("ours", "monai_tutorial", "ours", "monai_tutorial", "monai_same_depths")
STEPS = {"ours": 4, "monai_tutorial": 1, "monai_same_depths": 1}


def main() -> int:
    """Compare and print."""
    seconds: dict[str, list[float]] = {}
    for name in TURNS:
        command = [sys.executable, __file__, name]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds.setdefault(name, []).extend(json.loads(answer.stdout.splitlines()[-1]))
    best = {name: min(times) for name, times in seconds.items()}
    ratios = {name: value / best["ours"] for name, value in best.items() if name != "ours"}
    passed = ratios["monai_tutorial"] >= TARGET
    precision = "bf16" if multiplies_bf16() else "float32 (no AMX on this processor)"
    result = {
        "name": "segmentor_step",
        "ratio": round(ratios["monai_tutorial"], 2),
        "target": TARGET,
        "passed": passed,
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
        "seconds": {name: [round(t, 2) for t in times] for name, times in seconds.items()},
        "threads": torch.get_num_threads(),
        "precision": precision,
    }
    print(json.dumps(result))
    print(f"training step, {SIDE}^3, batch 1, {torch.get_num_threads()} threads")
    for name, value in best.items():
        beside = f"  {ratios[name]:5.2f} times ours" if name in ratios else ""
        print(f"  {name:18} {value:8.2f} s{beside}")
    print(f"  ours in {precision}; target {TARGET} against monai_tutorial")
    return 0 if passed else 1


def multiplies_bf16() -> bool:
    """Tell whether bf16 products are the faster ones; with AVX512-BF16 alone they are not."""
    return bool(torch.cpu._is_amx_tile_supported())


def measure(name: str) -> list[float]:
    """Return the wall times in seconds of this side's steps, after a small step to warm up."""
    from monai.networks.nets import SwinUNETR

    from medssl_bench.networks import build_segmentor
    from medssl_bench.networks.memory import keep_freed_memory

    torch.manual_seed(0)
    network: nn.Module
    if name == "ours":
        keep_freed_memory()
        network = build_segmentor("swin_65m", 1, CLASSES)
    elif name == "monai_tutorial":
        network = SwinUNETR(1, CLASSES, feature_size=48, use_checkpoint=True)
    else:
        network = SwinUNETR(
            1, CLASSES, feature_size=48, depths=(2, 2, 8, 2), num_heads=(4, 4, 8, 16), window_size=4
        )
    step = step_of(network, fused=name == "ours", bf16=name == "ours" and multiplies_bf16())
    step(64)
    times = []
    for _ in range(STEPS[name]):
        start = time.perf_counter()
        step(SIDE)
        times.append(time.perf_counter() - start)
    return times


def step_of(network: nn.Module, fused: bool, bf16: bool) -> Callable[[int], None]:
    """Return a function that takes one optimizer step on a random cube of a given side."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=fused)

    def step(side: int) -> None:
        image = torch.rand(1, 1, side, side, side)
        label = torch.randint(0, CLASSES, (1, side, side, side))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = network(image)
        functional.cross_entropy(logits.float(), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        sys.exit(main())
