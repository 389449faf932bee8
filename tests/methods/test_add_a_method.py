"""The example of ``docs/add-a-method.md`` is run as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from medssl_bench.method import Batch, Progress
from medssl_bench.networks import build_encoder
from medssl_bench.registry import load_plugin, methods

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


@pytest.fixture
def plugin(tmp_path):
    """Write the page's example to a file."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(example.splitlines()) <= 45
    path = tmp_path / "my_method.py"
    path.write_text(example)
    return path


def test_the_example_registers_and_learns(plugin):
    load_plugin(plugin)
    assert "my_method" in methods.match("family:reconstruction")
    torch.manual_seed(0)
    denoise = methods.load("my_method")
    method = denoise(build_encoder("swin_tiny"), denoise.Config(), (16, 16, 16))
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    image = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    losses = []
    for step in range(5):
        batch = Batch((image,), Progress(step, 5), (torch.Generator().manual_seed(step),))
        optimizer.zero_grad()
        loss = method(batch).total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert method.encoder_state().keys() == build_encoder("swin_tiny").state_dict().keys()


def test_every_part_the_page_lists_exists():
    parts = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    folder = PAGE.parents[1] / "methods" / "parts"
    assert set(parts) == {path.stem for path in folder.glob("*.py")} - {"__init__"}
