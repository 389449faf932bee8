"""UniFormer and BrainMVP's pretraining step against paper 003's design in plain float32.

The plain side is that design written module by module as its code does: channels-first volumes,
``nn.Conv3d`` for every convolution, attention by matrix product and softmax, a pretext decoder of
``nn.ConvTranspose3d``, ``torch.optim.AdamW``. It takes our weights, and has to return the same
maps, loss and gradients first. Ours is what the harness runs on a processor without AMX: float32
too, freed memory kept, fused AdamW. Compared are forward and backward of ``uniformer3d`` on one
96^3 crop, and a whole step of ``brainmvp`` with all of its terms, two copies of two cases and the
paper's templates, on crops of 64^3, for at 96^3 the plain side takes minutes. Each side has a
process of its own, whose high-water mark is its peak; they take turns, because other work on the
machine slows both alike. Run by ``make speed``: a JSON line, then a table; exit code 1 where
results differ or a target is missed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from pretraining_step import Side, random_batch
from torch import Tensor, nn

from medssl_bench.method import Progress
from medssl_bench.methods.brainmvp import BrainMVP
from medssl_bench.networks import build_encoder
from medssl_bench.networks.memory import keep_freed_memory
from medssl_bench.networks.uniformer import UniFormer
from medssl_bench.training import build_optimizer

TARGET, TOLERANCE = 3.0, 1e-4
SIDE, STEP_SIDE, CASES = 96, 64, 2
ROUNDS = {"encoder": 3, "pretraining": 2}
LATE = Progress(90, 100)
"""A step late in the run, where the contrast has begun."""


class PlainUniFormer(nn.Module):
    """UniFormer-Small of paper 003; parameters have the names of ours."""

    def __init__(self, ours: UniFormer) -> None:
        """Build with the shape and the weights of ours."""
        super().__init__()
        self.levels, self.in_channels = ours.levels, ours.in_channels
        shape, before = ours.config, ours.in_channels
        for stage, width in enumerate(shape.widths, start=1):
            self.add_module(f"patch_embed{stage}", PlainPatchEmbed(before, width))
            blocks = (
                PlainAttentionBlock(width, width // shape.head_width)
                if shape.attends[stage - 1]
                else PlainConvolutionBlock(width)
                for _ in range(shape.depths[stage - 1])
            )
            self.add_module(f"blocks{stage}", nn.Sequential(*blocks))
            before = width
        self.norm = nn.BatchNorm3d(before)
        self.load_state_dict(ours.state_dict())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Encode ``(B, C, D, H, W)``."""
        volume, maps = image, {}
        for stage, level in enumerate(self.levels, start=1):
            volume = self.get_submodule(f"patch_embed{stage}")(volume)
            volume = self.get_submodule(f"blocks{stage}")(volume)
            maps[level.name] = volume
        return {**maps, self.levels[-1].name: self.norm(volume)}


class PlainPatchEmbed(nn.Module):
    """A 2^3 convolution of stride 2, then LayerNorm."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(before, width, 2, stride=2)
        self.norm = nn.LayerNorm(width)

    def forward(self, volume: Tensor) -> Tensor:
        volume = self.proj(volume)
        tokens = self.norm(volume.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape(volume.shape).contiguous()


class PlainConvolutionBlock(nn.Module):
    """Depthwise 3^3; norm, 1^3, depthwise 5^3, 1^3; norm and MLP of 1^3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = nn.Conv3d(width, width, 1)
        self.attn = nn.Conv3d(width, width, 5, padding=2, groups=width)
        self.conv2 = nn.Conv3d(width, width, 1)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = PlainMlp(nn.Conv3d(width, 4 * width, 1), nn.Conv3d(4 * width, width, 1))

    def forward(self, volume: Tensor) -> Tensor:
        volume = volume + self.pos_embed(volume)
        volume = volume + self.conv2(self.attn(self.conv1(self.norm1(volume))))
        return volume + self.mlp(self.norm2(volume))


class PlainAttentionBlock(nn.Module):
    """Depthwise 3^3; norm and attention among all tokens; norm and MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = PlainAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = PlainMlp(nn.Linear(width, 4 * width), nn.Linear(4 * width, width))

    def forward(self, volume: Tensor) -> Tensor:
        volume = volume + self.pos_embed(volume)
        tokens = volume.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(volume.shape)


class PlainAttention(nn.Module):
    """Softmax of the scaled products of queries and keys, times values, for each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class PlainMlp(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = first, nn.GELU(), second

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(features)))


class PlainDecoder(nn.Module):
    """Transposed 2^3 convolutions of stride 2 one after another, then one of 1^3."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.level = ours.level.name
        self.ups = nn.Sequential(
            *(
                nn.ConvTranspose3d(up.in_channels, up.out_channels, 2, stride=2, bias=False)
                for up in ours.ups
            )
        )
        self.project = nn.Conv3d(ours.project.in_channels, ours.project.out_channels, 1)
        self.load_state_dict(ours.state_dict())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.project(self.ups(features[self.level]))


def main() -> int:
    """Compare and print."""
    with get_context("fork").Pool(1) as pool:  # forked from a process that has computed nothing
        found = pool.apply(differences)
    tables = {work: measure(work, build) for work, build in WORKS.items()}
    equal = all(value <= TOLERANCE for value in found.values())
    passed = equal and all(table["ratio"] >= TARGET for table in tables.values())
    result = {
        "name": "uniformer",
        "ratio": tables["encoder"]["ratio"],
        "target": TARGET,
        "passed": passed,
        "tables": tables,
        "differences": found,
        "threads": torch.get_num_threads(),
        "precision": "float32",
    }
    print(json.dumps(result))
    print(f"uniformer3d, {result['threads']} threads, float32: plain design against ours")
    print(f"  encoder: {SIDE}^3, batch 1; pretraining: {STEP_SIDE}^3, batch {CASES}")
    for work, table in tables.items():
        for side in ("plain", "ours"):
            print(
                f"  {work:12}{side:6}{table['seconds'][side]:8.2f} s{table['peak_mb'][side]:9} MB"
            )
        print(f"  {work:12}{table['ratio']:.2f} times faster (target {TARGET})")
    told = ", ".join(f"{name} by {value:.1e}" for name, value in found.items())
    print(f"  they differ: {told} (at most {TOLERANCE})")
    return 0 if passed else 1


def measure(work: str, build: Callable[[bool], Callable[[int], None]]) -> dict[str, Any]:
    """Time both sides in turns; times are medians in seconds, the ratio that of the pairs."""
    sides = {"plain": Side(partial(build, True)), "ours": Side(partial(build, False))}
    turns = [{name: side.step() for name, side in sides.items()} for _ in range(ROUNDS[work])]
    ratios = [turn["plain"] / turn["ours"] for turn in turns]
    return {
        "ratio": round(median(ratios), 2),
        "ratios": [round(value, 2) for value in ratios],
        "seconds": {name: round(median(turn[name] for turn in turns), 3) for name in sides},
        "peak_mb": {name: round(side.end() / 2**20) for name, side in sides.items()},
    }


def encoder_step(plain: bool) -> Callable[[int], None]:
    """Return a function that encodes a crop and takes gradients from every map."""
    encoder = build(plain, SIDE).encoder
    image = torch.rand(1, 1, SIDE, SIDE, SIDE)
    outward = [torch.randn_like(features) for features in encoder(image).values()]

    def step(_: int) -> None:
        encoder.zero_grad(set_to_none=True)
        torch.autograd.backward(list(encoder(image).values()), outward)

    return step


def pretraining_step(plain: bool) -> Callable[[int], None]:
    """Return a function that takes an optimizer step on random cases."""
    method = build(plain, STEP_SIDE)
    optimizer = build_optimizer(method, 3e-4, 1e-5, (0.9, 0.999))
    if plain:
        optimizer = torch.optim.AdamW(method.parameters(), lr=3e-4, weight_decay=1e-5)

    def step(_: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        method(random_batch(method, CASES, LATE)).total.backward()
        optimizer.step()

    return step


WORKS = {"encoder": encoder_step, "pretraining": pretraining_step}


def build(plain: bool, side: int) -> BrainMVP:
    """Return the method around our networks, or around plain ones with the same weights.

    What is drawn after it is the same for both.
    """
    torch.manual_seed(0)
    method = BrainMVP(build_encoder("uniformer3d"), BrainMVP.Config(), (side,) * 3)
    if plain:
        method.encoder = PlainUniFormer(method.encoder)
        method.decoder = PlainDecoder(method.decoder)
    else:
        keep_freed_memory()
        method.to(memory_format=torch.channels_last_3d)
    torch.manual_seed(1)
    return method.train()


def differences() -> dict[str, float]:
    """Return how far the sides differ, all of it relative to the plain side's norm.

    Maps of a 96^3 crop; loss and gradients, as one vector, of a pretraining step on 32^3 crops:
    gradients are sums over all voxels, and float32 rounds the longer the more (1e-4 at 64^3, the
    most of it in the bias of the first convolution).
    """
    found: list[dict[str, Tensor]] = []
    for plain in (True, False):
        method = build(plain, SIDE)
        with torch.no_grad():
            maps = method.encoder(torch.rand(1, 1, SIDE, SIDE, SIDE))
        method = build(plain, SIDE // 3)
        loss = method(random_batch(method, CASES, LATE)).total
        loss.backward()
        gradients = [value.grad.flatten() for _, value in sorted(method.named_parameters())]
        found.append({**maps, "loss": loss.detach(), "gradients": torch.cat(gradients)})
    theirs, ours = found
    return {name: float((theirs[name] - ours[name]).norm() / theirs[name].norm()) for name in ours}


if __name__ == "__main__":
    sys.exit(main())
