"""Two processes with half of a batch each compute what one computes with the whole of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from medssl_bench.method import Batch, Losses, Method, Place, Progress
from medssl_bench.methods import METHODS
from medssl_bench.methods.parts.distillation import Centre
from medssl_bench.methods.parts.distributed import gather, mean, rank, world
from medssl_bench.networks import build_encoder

TRAINED = [name for name, entry in METHODS.items() if entry.info["requires"]["trains"]]
SMALL_HEADS: dict[str, Any] = {"hidden": 32, "bottleneck": 16, "out": 64}
SMALL_HEADS |= {"template": (40, 40, 40), "contrast_from": 0.0}
CROP = (32, 32, 32)
SCANS, WORLD, STEPS = 4, 2, 2


def build(name: str) -> Method:
    """A method of which no two parts are alike: student and teacher, centres and zero."""
    torch.manual_seed(0)
    kind: type[Method] = METHODS[name].load()
    known = {field.name for field in dataclasses.fields(kind.Config)}
    settings = {key: value for key, value in SMALL_HEADS.items() if key in known}
    method = kind(build_encoder("swin_tiny", drop_path=0.0), kind.Config(**settings), CROP)
    with torch.no_grad():
        for tensor in (*method.parameters(), *method.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape) * 0.05)
    return method.train()


def share(method: Method, step: int, scans: range) -> Batch:
    """These scans of the batch that all processes have in a step."""
    source = torch.Generator().manual_seed(step)
    shape = (SCANS, 1, *CROP)
    whole = [torch.rand(shape, generator=source) for _ in range(method.requires.views)]
    if method.requires.min_modalities > 1:
        names = ("T1", "T2", "FLAIR", "ADC")
        cases = [
            {name: torch.rand(CROP, generator=source) for name in names[: 2 + scan % 3]}
            for scan in range(SCANS)
        ]
        places = [Place((scan, 0, 2), (44, 36, 40)) for scan in range(SCANS)]
        return Batch(
            (),
            Progress(step, 4),
            tuple(torch.Generator().manual_seed(100 * step + scan) for scan in scans),
            channels=tuple(cases[scan] for scan in scans),
            places=tuple(places[scan] for scan in scans),
        )
    return Batch(
        tuple(view[scans.start : scans.stop] for view in whole),
        Progress(step, 4),
        tuple(torch.Generator().manual_seed(100 * step + scan) for scan in scans),
    )


def train(method: Method, model: nn.Module, scans: range) -> dict[str, Any]:
    """Take the steps; return losses and gradients of each, and the state after the last."""
    optimizer = torch.optim.SGD(method.parameters(), lr=1e-4)
    losses, gradients = [], []
    for step in range(STEPS):
        batch = share(method, step, scans)
        optimizer.zero_grad()
        step_losses: Losses = model(batch)
        step_losses.total.backward()
        terms = {"total": step_losses.total, **step_losses.terms}
        losses.append({name: term.detach() for name, term in terms.items()})
        found = {n: p.grad for n, p in method.named_parameters() if p.grad is not None}
        gradients.append({name: gradient.clone() for name, gradient in found.items()})
        method.before_update(batch.progress)
        optimizer.step()
        method.after_step(batch.progress)
    return {"losses": losses, "gradients": gradients, "state": method.state_dict()}


def gathered() -> dict[str, Tensor]:
    """Rows of all processes, and the gradient that a weighting of its own gives in each."""
    rows = (torch.arange(6.0).view(3, 2) + 10 * rank()).T.requires_grad_()
    joined = gather(rows)
    weights = torch.arange(12.0).view(3, 4) * (1 + 100 * rank())
    (joined.T * weights).sum().backward()
    assert rows.grad is not None
    return {"joined": joined.detach(), "gradient": rows.grad, "mean": mean(torch.ones(2) * rank())}


def centred() -> Tensor:
    """The centre after a step in which each process saw logits of its own."""
    centre = Centre(2, momentum=0.9)
    centre(torch.tensor([[1.0, 2.0], [3.0, 4.0]]) * (rank() + 1), 0.04)
    centre.update()
    return centre.value


def one_of_two(place: int, store: str, out: str) -> None:
    """What each of the processes runs."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=place,
        world_size=WORLD,
        timeout=timedelta(seconds=180),
    )
    each = SCANS // WORLD
    scans = range(place * each, (place + 1) * each)
    done: dict[str, Any] = {"gather": gathered(), "centre": centred()}
    for name in TRAINED:
        method = build(name)
        done[name] = train(
            method, DistributedDataParallel(method, find_unused_parameters=True), scans
        )
    torch.save(done, out)
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """What each of two processes found, by name of a method."""
    folder = tmp_path_factory.mktemp("two")
    outs = [folder / f"{place}.pt" for place in range(WORLD)]
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(place), str(folder / "store"), str(out)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        for place, out in enumerate(outs)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * WORLD, "\n".join(errors)
    found = [torch.load(out) for out in outs]
    return lambda name: [each[name] for each in found]


def distance(mine: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest element."""
    scale = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return ((mine - expected).abs().max() / scale).item()


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_compute_what_one_does(name, two):
    method = build(name)
    one = train(method, method, range(SCANS))
    assert flat(one["gradients"][-1]).any()
    for step in range(STEPS):
        losses, gradients = one["losses"][step], one["gradients"][step]
        for term, expected in losses.items():
            shares = torch.stack([process["losses"][step][term] for process in two(name)])
            assert distance(shares.mean(), expected) < 1e-6, f"{term} in step {step}"
        for process in two(name):
            mine = process["gradients"][step]
            assert mine.keys() == gradients.keys()
            assert distance(flat(mine), flat(gradients)) < 1e-5, f"step {step}"
            for parameter, expected in gradients.items():
                # Where terms cancel, sums over two scans and over four round differently.
                assert distance(mine[parameter], expected) < 1e-3, f"{parameter} in step {step}"
    for process in two(name):
        assert process["state"].keys() == one["state"].keys()
        for part, expected in one["state"].items():
            assert distance(process["state"][part], expected) < 1e-6, part


def test_gathered_rows_take_the_gradient_of_all_processes(two):
    rows = torch.arange(6.0).view(3, 2).T
    weights = torch.arange(12.0).view(3, 4).T
    for place, found in enumerate(two("gather")):
        assert torch.equal(found["joined"], torch.cat((rows, rows + 10)))
        assert torch.equal(found["gradient"], weights.chunk(WORLD)[place] * (1 + 101))
        assert found["mean"].tolist() == [0.5, 0.5]


def test_all_processes_hold_the_same_centre(two):
    for value in two("centre"):
        assert value.tolist() == pytest.approx([0.1 * 3.0, 0.1 * 4.5])


def test_alone_nothing_is_gathered():
    rows = torch.rand(3, 2)
    assert gather(rows) is rows
    assert mean(rows) is rows
    assert (world(), rank()) == (1, 0)


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]), *sys.argv[2:])
