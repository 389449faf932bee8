"""What holds for every method alike."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from lightning_fabric import Fabric
from pydantic import TypeAdapter, ValidationError

from medssl_bench.errors import BenchError
from medssl_bench.method import Batch, Method, Place, Progress
from medssl_bench.methods import METHODS
from medssl_bench.networks import build_encoder

SMALL_HEADS = {"hidden": 32, "bottleneck": 16, "out": 64, "template": (64, 56, 60)}
BACKBONES = {
    "swin_tiny": ("patch_embed.proj.weight", "layers3"),
    "uniformer_tiny": ("patch_embed1.proj.weight", "blocks2"),
    "unet3d": ("conv1a.weight", "conv2"),
}
"""Backbone -> the weight that takes the image, and how a late stage begins that all methods use."""
SMALL = {"unet3d": {"width": 8, "blocks": (1, 1, 1)}}
CROP = (48, 48, 48)


def build(name: str, backbone: str, seed: int = 0, crop: tuple[int, int, int] = CROP) -> Method:
    torch.manual_seed(seed)
    method: type[Method] = METHODS[name].load()
    fields = {field.name for field in dataclasses.fields(method.Config)}
    settings = {key: value for key, value in SMALL_HEADS.items() if key in fields}
    encoder = build_encoder(backbone, **SMALL.get(backbone, {}))
    return method(encoder, method.Config(**settings), crop)


def batch_for(method: Method, step: int = 0, steps: int = 4) -> Batch:
    source = torch.Generator().manual_seed(step)
    shape = (max(1, method.requires.min_batch), 1, *CROP)
    views = tuple(torch.rand(shape, generator=source) for _ in range(method.requires.views))
    generators = tuple(torch.Generator().manual_seed(step + i) for i in range(shape[0]))
    if method.requires.min_modalities == 1:
        return Batch(views, Progress(step, steps), generators)
    names = ("T1", "T2", "FLAIR")[: method.requires.min_modalities + 1]
    channels = tuple({name: torch.rand(CROP, generator=source) for name in names} for _ in views[0])
    places = tuple(Place((3, 0, 2), (60, 48, 52)) for _ in views[0])
    return Batch((), Progress(step, steps), generators, channels=channels, places=places)


@pytest.mark.parametrize("name", METHODS)
def test_the_table_says_what_the_class_declares(name):
    entry = METHODS[name]
    method = entry.load()
    assert entry.summary
    assert entry.info == {
        "family": method.family,
        "reference": method.reference,
        "version": method.version,
        "views": method.requires.views,
        "requires": dataclasses.asdict(method.requires),
    }


def test_the_table_is_read_without_torch():
    code = "import sys, medssl_bench.methods; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_frozen_and_validated(name):
    config = METHODS[name].load().Config
    assert TypeAdapter(config).validate_python({}) == config()
    if dataclasses.fields(config):
        first = dataclasses.fields(config)[0].name
        with pytest.raises(ValidationError):
            TypeAdapter(config).validate_python({first: object()})
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config(), first, 0)


TRAINED = [name for name, entry in METHODS.items() if entry.info["requires"]["trains"]]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", TRAINED)
def test_a_step_is_finite_and_its_gradient_reaches_the_encoder(name, backbone):
    """As the pretraining stage runs it: through Fabric, under bf16 autocast."""
    method = build(name, backbone)
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    model = fabric.setup(method).train()
    batch = batch_for(method)
    losses = model(batch)
    assert losses.total.dtype == torch.float32
    fabric.backward(losses.total)
    assert torch.isfinite(losses.total)
    assert all(torch.isfinite(term) for term in losses.terms.values())
    reached = {
        key for key, p in method.encoder.named_parameters() if p.grad is not None and p.grad.any()
    }
    first, last = BACKBONES[backbone]
    assert first in reached
    assert any(key.startswith(last) for key in reached)
    method.before_update(batch.progress)
    method.after_step(batch.progress)
    assert all(isinstance(value, float) for value in method.watch().values())


@pytest.mark.parametrize("name", METHODS)
def test_what_transfers_loads_into_a_fresh_encoder(name):
    state = build(name, "swin_tiny").encoder_state()
    fresh = build_encoder("swin_tiny")
    fresh.load_state_dict(state)
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in state.items())


def test_scratch_hands_on_the_initialisation_and_refuses_to_train():
    method = build("scratch", "swin_tiny", seed=3)
    torch.manual_seed(3)
    fresh = build_encoder("swin_tiny").state_dict()
    assert all(torch.equal(fresh[key], value) for key, value in method.encoder_state().items())
    with pytest.raises(BenchError, match="nothing to pretrain"):
        method(batch_for(method))


def test_smit_takes_its_tokens_after_the_third_merging():
    method = build("smit", "swin_65m", crop=(96, 96, 96))
    assert method.level.stride == 16
    assert method.level.channels == 384
    assert method.level.name == "merge3"
