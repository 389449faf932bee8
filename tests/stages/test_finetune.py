"""Fine-tuning: what a pretrained encoder is given that one from scratch is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medssl_bench.config import FinetuneSettings
from medssl_bench.stages import finetune as stage
from medssl_bench.training import Compute


class _Stop(Exception):
    """Enough was seen."""


@pytest.mark.parametrize("pretrained", [False, True])
def test_only_pretrained_encoders_learn_slower(
    pretrained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torch.nn.Module()
    network.encoder = torch.nn.Linear(2, 2)

    def build(*_: Any, slower: Any) -> None:
        raise _Stop(slower)

    monkeypatch.setattr(stage, "build_model", lambda job, state: network)
    monkeypatch.setattr(stage, "build_optimizer", build)
    job = SimpleNamespace(settings=FinetuneSettings(steps=1, pretrained_lr_scale=0.1))
    state = {"weight": torch.zeros(2, 2)} if pretrained else None
    compute = Compute("cpu", "32-true", 1)
    with pytest.raises(_Stop) as found:
        stage.finetune(job, [], [], state, compute, tmp_path, lambda _: None, lambda: None, 60.0)
    assert found.value.args == ((network.encoder, 0.1) if pretrained else None,)
