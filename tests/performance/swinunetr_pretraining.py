"""A whole pretraining step of ``swinunetr`` at 64^3 against the public recipe on MONAI's network.

The public recipe (SwinUNETR/Pretrain of Project-MONAI/research-contributions) is written down here
with MONAI's ``SwinTransformer`` and torch's losses in plain float32: crops are turned and cut one
by one, the two views pass one after the other, rotation and contrast read the first and second
token, the decoder enlarges all of its channels. It runs twice: as its code runs on one device, with
gradient checkpointing (its README) and anomaly detection (its ``main.py``), and without both, which
is the fairer side. Ours is the same network, with ``pool`` and ``second_view`` as there, and runs
as the harness runs it. Equal work is checked first: with equal weights and turns, the losses of all
three tasks on both views agree.

Each side has a process of its own and they take turns; the fastest step of each counts. Run by
``make speed``: a JSON line, then a table; exit code 1 where losses differ or the target is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.method import Batch, Progress
from medssl_bench.methods.swinunetr import SwinUNETR
from medssl_bench.networks import build_encoder

TARGET, TOLERANCE = 3.0, 1e-4
SIDE, SCANS, WIDTH = 64, 2, 768
TURNS = ("ours", "public", "ours", "public", "public_plain")
STEPS = {"ours": 3, "public": 2, "public_plain": 2}


def main() -> int:
    """Compare and print."""
    difference = largest_difference()
    seconds: dict[str, list[float]] = {}
    for name in TURNS:
        command = [sys.executable, "-W", "ignore", __file__, name]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds.setdefault(name, []).extend(json.loads(answer.stdout.splitlines()[-1]))
    best = {name: min(times) for name, times in seconds.items()}
    ratios = {name: value / best["ours"] for name, value in best.items() if name != "ours"}
    passed = ratios["public"] >= TARGET and difference <= TOLERANCE
    result = {
        "name": "swinunetr_pretraining",
        "ratio": round(ratios["public"], 2),
        "target": TARGET,
        "passed": passed,
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
        "seconds": {name: [round(t, 2) for t in times] for name, times in seconds.items()},
        "largest_difference": difference,
        "threads": torch.get_num_threads(),
        "precision": precision(),
    }
    print(json.dumps(result))
    print(f"pretraining step, {SCANS} scans of {SIDE}^3, two views, {result['threads']} threads")
    for name, value in best.items():
        beside = f"  {ratios[name]:5.2f} times ours" if name in ratios else ""
        print(f"  {name:14}{value:8.2f} s{beside}")
    print(f"  ours in {result['precision']}; losses differ by {difference:.1e};", end=" ")
    print(f"target {TARGET} against public")
    return 0 if passed else 1


class Public(nn.Module):
    """Encoder, heads and decoder of the public recipe."""

    def __init__(self, checkpointing: bool) -> None:
        super().__init__()
        self.encoder = SwinTransformer(
            1, 48, (7,) * 3, (2,) * 3, (2, 2, 2, 2), (3, 6, 12, 24), use_checkpoint=checkpointing
        )
        self.rotation = nn.Linear(WIDTH, 4)
        self.contrast = nn.Linear(WIDTH, 512)
        widths = [WIDTH, WIDTH // 2, WIDTH // 4, WIDTH // 8, WIDTH // 16, WIDTH // 16]
        layers: list[nn.Module] = []
        for wide, narrow in zip(widths, widths[1:], strict=False):
            layers += [
                nn.Conv3d(wide, narrow, kernel_size=3, padding=1),
                nn.InstanceNorm3d(narrow),
                nn.LeakyReLU(),
                nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False),
            ]
        self.decoder = nn.Sequential(*layers, nn.Conv3d(widths[-1], 1, kernel_size=1))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotation logits, contrast codes and the rebuilt crops of one view."""
        feature = self.encoder(crops.contiguous())[4]
        tokens = feature.flatten(start_dim=2).transpose(1, 2)
        return self.rotation(tokens[:, 0]), self.contrast(tokens[:, 1]), self.decoder(feature)

    def losses(self, views: Sequence[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
        """Return the three terms for two views, each of cut crops, clean crops and their turns."""
        (logits, codes, rebuilt) = zip(*(self(cut) for cut, _, _ in views), strict=True)
        clean, turns = (torch.cat([view[place] for view in views]) for place in (1, 2))
        return {
            "rotation": functional.cross_entropy(torch.cat(logits), turns),
            "inpainting": functional.l1_loss(torch.cat(rebuilt), clean),
            "contrast": nt_xent(*codes),
        }


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """SimCLR's loss from the matrix of all cosines."""
    codes = torch.cat((functional.normalize(first), functional.normalize(second)))
    cosines = functional.cosine_similarity(codes[:, None], codes[None], dim=2)
    pairs = torch.cat((cosines.diag(len(first)), cosines.diag(-len(first))))
    others = (cosines / temperature).exp() * (1 - torch.eye(len(codes)))
    return -((pairs / temperature).exp() / others.sum(dim=1)).log().mean()


def turned(crops: Tensor, turns: Sequence[int]) -> Tensor:
    """Turn a copy of the crops in their last two axes, one by one."""
    copy = crops.detach().clone()
    for number, turn in enumerate(turns):
        copy[number] = crops[number].rot90(turn, (2, 3))
    return copy


def cut(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Drop cuboids of each crop for noise, then for what another crop of the batch shows there."""
    copy = crops.detach().clone()
    for number in range(len(copy)):
        drop(copy[number], None, rng)
        other = int(rng.integers(len(copy)))
        if other != number:
            drop(copy[number], copy[other], rng)
    return copy


def drop(crop: Tensor, source: Tensor | None, rng: np.random.Generator) -> None:
    """Fill cuboids of ``(C, D, H, W)`` in place, up to a random share of 0 to 0.3 of the crop."""
    sides = crop.shape[1:]
    wanted, dropped = rng.uniform(0, 0.3) * crop[0].numel(), 0
    while dropped < wanted:
        place: list[slice] = []
        for side in sides:
            least, most = int(0.05 * side), int(0.25 * side)
            start = int(rng.integers(side - least))
            place.append(slice(start, min(start + int(rng.integers(least, most)), side)))
        where = (slice(None), *place)
        if source is None:
            noise = torch.empty_like(crop[where]).normal_()
            crop[where] = (noise - noise.min()) / (noise.max() - noise.min())
        else:
            crop[where] = source[where]
        dropped += crop[where][0].numel()


def ours(volume: float = 0.3) -> SwinUNETR:
    """Build our method on the same network, with what the public recipe reads and compares."""
    config = SwinUNETR.Config(pool="token01", second_view="same", volume=volume)
    return SwinUNETR(build_encoder("swin_monai"), config, (SIDE,) * 3)


def batch_of(crops: Tensor, number: int) -> Batch:
    """Return the crops of some scans as a batch of ours."""
    scans = tuple(torch.Generator().manual_seed(100 * number + i) for i in range(len(crops)))
    return Batch((crops, crops), Progress(number, 100), scans)


def largest_difference() -> float:
    """Compare the three losses for equal weights, turns and crops that nothing was cut from."""
    from medssl_bench.networks.convert import from_monai

    torch.manual_seed(0)
    theirs, method = Public(checkpointing=False), ours(volume=0.0)
    method.encoder.load_state_dict(from_monai(theirs.encoder.state_dict()))
    convolutions = [layer for layer in theirs.decoder if isinstance(layer, nn.Conv3d)]
    with torch.no_grad():
        for mine, other in zip(method.decoder.convs, convolutions, strict=False):
            # Their bias has no effect: the norm that follows takes it away.
            mine.weight.copy_(other.weight)
    method.decoder.project.load_state_dict(convolutions[-1].state_dict())
    method.rotation.load_state_dict(theirs.rotation.state_dict())
    method.contrast.load_state_dict(theirs.contrast.state_dict())

    crops = torch.rand(SCANS, 1, SIDE, SIDE, SIDE)
    drawn = method.turns.draw(batch_of(crops, 0)).chunk(2)
    views = [turned(crops, turns.tolist()) for turns in drawn]
    expected = theirs.losses([(v, v, turns) for v, turns in zip(views, drawn, strict=True)])
    found = method(batch_of(crops, 0)).terms
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).abs()) for name in expected)


def precision() -> Any:
    """Return the precision that the harness would choose."""
    from medssl_bench.training import resolve_precision

    return resolve_precision("auto", "cpu")


def measure(name: str) -> list[float]:
    """Return the wall times in seconds of one side's steps, after one to warm up."""
    torch.manual_seed(0)
    step = our_step() if name == "ours" else public_step(as_published=name == "public")
    times = []
    for number in range(1 + STEPS[name]):
        crops = torch.rand(SCANS, 1, SIDE, SIDE, SIDE)
        start = time.perf_counter()
        step(crops, number)
        times.append(time.perf_counter() - start)
    return times[1:]


def our_step() -> Callable[[Tensor, int], None]:
    """Return a step of ours as the pretraining stage takes it."""
    from medssl_bench.networks.memory import keep_freed_memory
    from medssl_bench.training import Compute, build_optimizer, gradient_norm

    keep_freed_memory()
    method = ours().to(memory_format=torch.channels_last_3d)
    fabric = Compute("cpu", precision(), torch.get_num_threads()).fabric()
    optimizer = build_optimizer(method, 4e-4, 0.1, (0.9, 0.999))
    model, optimizer = fabric.setup(method, optimizer)
    model.train()

    def step(crops: Tensor, number: int) -> None:
        losses = model(batch_of(crops, number))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(losses.total)
        gradient_norm(method.parameters(), None)
        optimizer.step()

    return step


def public_step(as_published: bool) -> Callable[[Tensor, int], None]:
    """Return a step of the public recipe."""
    model = Public(checkpointing=as_published).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, weight_decay=0.1)
    torch.autograd.set_detect_anomaly(as_published)
    rng = np.random.default_rng(0)

    def step(crops: Tensor, number: int) -> None:
        views = []
        for _ in range(2):
            turns = torch.from_numpy(rng.integers(4, size=len(crops)))
            clean = turned(crops, turns.tolist())
            views.append((cut(clean, rng), clean, turns))
        sum(model.losses(views).values(), torch.zeros(())).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        sys.exit(main())
