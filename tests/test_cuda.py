"""What a GPU computes is what the CPU computes; these run only where there is one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from medssl_bench import registry
from medssl_bench.method import Batch, Losses, Method, Place, Progress
from medssl_bench.methods import METHODS
from medssl_bench.networks import build_encoder, build_segmentor
from medssl_bench.networks.compiling import compile_blocks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

SMALL: dict[str, dict[str, Any]] = {
    name: {"hidden": 64, "bottleneck": 32, "out": 64} for name in ("dino", "ibot", "smit")
} | {"brainmvp": {"template": (40, 36, 34)}}
CROP = (32, 32, 32)


@pytest.fixture(autouse=True)
def _exact_products() -> Any:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def trained() -> list[str]:
    return [name for name, entry in METHODS.items() if entry.load().requires.trains]


def build(name: str) -> Method:
    torch.manual_seed(0)
    kind = registry.methods.load(name)
    method: Method = kind(build_encoder("swin_tiny"), kind.Config(**SMALL.get(name, {})), CROP)
    return method.train()


def step(method: Method, device: str) -> tuple[Losses, dict[str, torch.Tensor]]:
    """Return the losses of one step on fixed crops, and every gradient, on the CPU."""
    scans = tuple(torch.Generator().manual_seed(scan) for scan in range(3))
    progress, cases = Progress(5, 100), ("a", "b", "c")
    crops = [
        torch.rand(3, 1, *CROP, generator=torch.Generator().manual_seed(view)).to(device)
        for view in range(max(method.requires.views, method.requires.min_modalities))
    ]
    if method.requires.min_modalities > 1:
        channels = tuple({"T1": crops[0][i, 0], "T2": crops[1][i, 0]} for i in range(3))
        places = (Place((2, 0, 1), (40, 36, 34)),) * 3
        losses = method(Batch((), progress, scans, cases, channels=channels, places=places))
    else:
        losses = method(Batch(tuple(crops), progress, scans, cases))
    losses.total.backward()
    named = method.named_parameters()
    return losses, {name: p.grad.cpu() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("name", trained())
@pytest.mark.parametrize("compiled", [False, True])
def test_a_method_is_the_same_on_the_gpu(name: str, compiled: bool) -> None:
    here = build(name)
    there = copy.deepcopy(here).to("cuda")
    if compiled:
        compile_blocks(there)
    losses, gradients = step(here, "cpu")
    on_gpu, their_gradients = step(there, "cuda")
    for term, value in losses.terms.items():
        assert on_gpu.terms[term].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-6)
    assert their_gradients.keys() == gradients.keys()
    largest = max(float(g.abs().max()) for g in gradients.values())
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(
            their_gradients[parameter], gradient, rtol=2e-3, atol=1e-4 * largest, msg=parameter
        )


@pytest.mark.parametrize("backbone", ["swin_tiny", "swin_65m", "swin_monai"])
def test_a_segmentor_is_the_same_on_the_gpu(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_segmentor(backbone, 1, 3, drop_path=0.0)
    image = torch.rand(2, 1, 64, 64, 64)
    there = copy.deepcopy(network).to("cuda", memory_format=torch.channels_last_3d)
    logits = network(image)
    torch.testing.assert_close(there(image.cuda()).cpu(), logits, rtol=1e-3, atol=1e-3)
    with torch.autocast("cuda", torch.bfloat16):
        rough = there(image.cuda()).float().cpu()
    assert (rough - logits).norm() < 0.05 * logits.norm()
