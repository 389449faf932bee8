"""What training costs on a GPU: pretraining of ``simmim`` and ``smit``, and the segmentor's step.

``swin_65m`` on crops of 96^3. Pretraining steps are those of ``pretraining_step.py``, in float32,
in bf16 and in bf16 compiled by ``torch.compile``: scans a second, and the share of the bf16 matrix
product's measured peak that the step's counted operations come to. The segmentor's training step
stands beside MONAI's ``SwinUNETR`` as its tutorials build it (see ``segmentor_step.py``), in the
same precision. Every figure has a process of its own; a step is the median of several, timed by
events. Without a GPU it says so and measures nothing. Run by ``make speed``: a JSON line, then
tables. There is no target.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

METHODS = ("simmim", "smit")
PRECISIONS = ("float32", "bf16", "bf16 compiled")
SIDE, BATCHES, SEGMENTED = 96, (8,), (2,)
WARM_UP, STEPS = 4, 12


def main() -> int:
    """Measure everything and print."""
    if not torch.cuda.is_available():
        print(json.dumps({"name": "gpu", "measured": False, "reason": "no CUDA device"}))
        return 0
    peak = matrix_peak()
    works = [
        ["pretrain", method, precision, str(batch)]
        for method in METHODS
        for batch in BATCHES
        for precision in PRECISIONS
    ]
    works += [
        ["segment", side, precision, str(batch)]
        for batch in SEGMENTED
        for precision in PRECISIONS
        for side in ("ours", "monai")
        if (side, precision) != ("monai", "bf16 compiled")
    ]
    rows: list[dict[str, Any]] = []
    for work in works:
        row = {"work": work, **run(work)}
        if "seconds" in row:
            row["scans_per_second"] = round(int(work[3]) / row["seconds"], 2)
            row["share_of_peak"] = round(row["flop"] / row["seconds"] / peak, 3)
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    device = torch.cuda.get_device_name()
    result = {"name": "gpu", "device": device, "peak_tflops": round(peak / 1e12), "rows": rows}
    print(json.dumps(result))
    print(f"{SIDE}^3 on {device}; bf16 matrix product: {peak / 1e12:.0f} TFLOP/s")
    for row in rows:
        name = "{:9}{:8}{:14} batch {:>2}".format(*row["work"])
        if "seconds" not in row:
            print(f"  {name}  failed: {row['error']}")
            continue
        print(
            f"  {name} {row['seconds'] * 1e3:8.1f} ms {row['scans_per_second']:8.1f} scans/s"
            f" {row['share_of_peak']:6.1%} of peak {row['peak_mb']:8.0f} MB"
        )
    return 0


def run(work: list[str]) -> dict[str, Any]:
    """Measure one piece of work in a process of its own."""
    command = [sys.executable, __file__, *work]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        lines = answer.stderr.strip().splitlines()
        return {"error": next((x for x in reversed(lines) if "Error" in x), lines[-1])[:300]}
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def matrix_peak() -> float:
    """Return the operations per second of a large bf16 matrix product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / timed(lambda _: torch.mm(a, b))


def timed(step: Callable[[int], object]) -> float:
    """Return the median seconds of a step on the GPU."""
    times = []
    for number in range(WARM_UP + STEPS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step(number)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return median(times[WARM_UP:])


def measure(kind: str, name: str, precision: str, batch: int) -> dict[str, float]:
    """Return seconds and operations of a step, and the most memory that it held."""
    torch.manual_seed(0)
    bf16 = precision.startswith("bf16")
    compiled = precision.endswith("compiled")
    if not bf16:
        torch.backends.cudnn.allow_tf32 = False
    if kind == "pretrain":
        step = pretraining(name, bf16, compiled, batch)
    else:
        step = segmenting(name, bf16, batch, compiled)
    counter = FlopCounterMode(display=False)
    if compiled:
        flop = run([kind, name, "bf16", str(batch)])["flop"]  # compiled kernels are not counted
    else:
        with counter:
            step(0)
        flop = counter.get_total_flops()
    torch.cuda.reset_peak_memory_stats()
    seconds = timed(step)
    peak_mb = torch.cuda.max_memory_allocated() / 2**20
    return {"seconds": seconds, "flop": flop, "peak_mb": peak_mb}


def pretraining(name: str, bf16: bool, compiled: bool, batch: int) -> Callable[[int], None]:
    """Return a function that takes an optimizer step of a method on random crops."""
    from medssl_bench import registry
    from medssl_bench.method import Batch, Progress
    from medssl_bench.networks import build_encoder
    from medssl_bench.networks.compiling import compile_blocks
    from medssl_bench.training import Compute, build_optimizer, gradient_norm

    method_class, crop = registry.methods.load(name), (SIDE,) * 3
    method = method_class(build_encoder("swin_65m"), method_class.Config(), crop)
    method.to(memory_format=torch.channels_last_3d)
    fabric = Compute("cuda", "bf16-mixed" if bf16 else "32-true", 1).fabric()
    optimizer = build_optimizer(method, 2e-4, 0.05, (0.9, 0.999))
    model, optimizer = fabric.setup(method, optimizer)
    model.train()
    if compiled:
        compile_blocks(method)
    views = tuple(
        torch.rand(batch, 1, *crop, device="cuda") for _ in range(method_class.requires.views)
    )

    def step(number: int) -> None:
        progress = Progress(number, 100)
        scans = tuple(torch.Generator().manual_seed(number + i) for i in range(batch))
        losses = model(Batch(views, progress, scans))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(losses.total)
        method.before_update(progress)
        gradient_norm(method.parameters(), None)
        optimizer.step()
        method.after_step(progress)

    return step


def segmenting(name: str, bf16: bool, batch: int, compiled: bool) -> Callable[[int], None]:
    """Return a function that takes an optimizer step of a segmentor on a random crop."""
    from monai.networks.nets import SwinUNETR

    from medssl_bench.networks import build_segmentor
    from medssl_bench.networks.compiling import compile_blocks

    network: nn.Module
    if name == "ours":
        network = build_segmentor("swin_65m", 1, 2)
        network = network.to("cuda", memory_format=torch.channels_last_3d)
        if compiled:
            compile_blocks(network)
    else:
        network = SwinUNETR(1, 2, feature_size=48, use_checkpoint=True).cuda()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=name == "ours")
    image = torch.rand(batch, 1, SIDE, SIDE, SIDE, device="cuda")
    label = torch.randint(0, 2, (batch, SIDE, SIDE, SIDE), device="cuda")

    def step(_: int) -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            logits = network(image)
        functional.cross_entropy(logits.float(), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        sys.exit(main())
