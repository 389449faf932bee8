"""Forward and backward of the Swin encoder: ours against MONAI's, float32, shared weights.

Both compute depths (2, 2, 8, 2), heads (4, 4, 8, 16), width 48, window 4 on one 96^3 crop. They
take turns, because other work on the machine slows both alike. Run by ``make speed``: a JSON line,
then a table; exit code 1 where outputs differ or the target is missed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor

from medssl_bench.networks import build_encoder
from medssl_bench.networks.convert import from_monai

TARGET, TOLERANCE = 1.3, 1e-5
ROUNDS, SIDE = 4, 96


def main() -> int:
    """Compare and print."""
    torch.manual_seed(0)
    shape = {"depths": (2, 2, 8, 2), "window": 4}
    theirs = SwinTransformer(1, 48, (4, 4, 4), (2, 2, 2), (2, 2, 8, 2), (4, 4, 8, 16))
    ours = build_encoder("swin_monai", heads=(4, 4, 8, 16), **shape)
    ours.load_state_dict(from_monai(theirs.state_dict()))
    image = torch.rand(1, 1, SIDE, SIDE, SIDE)

    sides: dict[str, Callable[[], list[Tensor]]] = {
        "monai": lambda: theirs(image),
        "ours": lambda: list(ours(image).values()),
    }
    difference = max(
        float((one - two).abs().max())
        for one, two in zip(sides["monai"](), sides["ours"](), strict=True)
    )
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, forward in sides.items():
            start = time.perf_counter()
            sum((level.square().mean() for level in forward()), torch.zeros(())).backward()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["monai"], seconds["ours"], strict=True)]
    ratio = median(ratios)
    passed = ratio >= TARGET and difference <= TOLERANCE
    result = {
        "name": "swin_encoder",
        "ratio": round(ratio, 2),
        "target": TARGET,
        "passed": passed,
        "ratios": [round(value, 2) for value in ratios],
        "seconds": {name: round(median(times), 3) for name, times in seconds.items()},
        "largest_difference": difference,
        "threads": torch.get_num_threads(),
        "precision": "float32",
    }
    print(json.dumps(result))
    print(f"encoder forward+backward, {SIDE}^3, float32, {torch.get_num_threads()} threads")
    for name, times in seconds.items():
        print(f"  {name:6} {median(times):8.3f} s")
    print(f"  {ratio:.2f} times faster (target {TARGET}); outputs differ by {difference:.1e}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
