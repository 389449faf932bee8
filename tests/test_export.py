"""Exported encoders: the other side loads them and computes the same features."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import medssl_bench
from medssl_bench import registry
from medssl_bench.cli.export_command import TARGETS
from medssl_bench.digest import digest, weights_digest
from medssl_bench.errors import BenchError
from medssl_bench.export_formats import FORMATS
from medssl_bench.networks import build_encoder
from medssl_bench.networks.checkpoint_file import load_into, read_weights
from medssl_bench.networks.encoder import Encoder
from medssl_bench.networks.resenc import ResEncConfig
from medssl_bench.record import Cell, Record
from medssl_bench.registry import Entry
from medssl_bench.store import Store

EXAMPLE = Path(__file__).with_name("example_record.json")
Recorded = Callable[..., tuple[Path, Encoder]]


@pytest.fixture(autouse=True)
def _seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


@pytest.fixture
def recorded() -> Recorded:
    """Record a pretraining of a backbone with weights that all matter; return its folder."""

    def record(backbone: str, **changes: Any) -> tuple[Path, Encoder]:
        encoder = build_encoder(backbone).eval()
        for parameter in encoder.parameters():
            nn.init.normal_(parameter, std=0.05 if parameter.ndim > 1 else 0.5)
        key = digest([backbone, "a pretraining"])
        info = {
            "method": "smit",
            "family": "mim",
            "reference": "Jiang et al.",
            "config": {"ratio": 0.75},
            "backbone": backbone,
            "in_channels": 1,
            "corpus": "phantom_ct",
            "corpus_digest": digest("scans"),
            "corpus_cases": ["a", "b"],
            "corpus_licence": "CC0",
            "preprocessing": {"CT": {"spacing": [1.5, 1.5, 2.0]}},
            "settings": {"crop": [96, 96, 96], "steps": 5, "batch": 2},
            "pretrain_seed": 3,
            "versions": {"method": 1},
            "git": None,
            "libraries": {"torch": "2"},
            "machine": {"device": "a CPU", "precision": "32-true"},
            "cost": {"wall_hours": 0.5, "device_hours": 0.0, "steps": 5, "crops": 20},
            "finished": "2026-01-01T00:00:00+00:00",
            **changes,
        }
        store = Store("results")
        store.write_pretraining(key, info, encoder.state_dict(), pd.DataFrame({"step": [1]}))
        return store.pretraining_folder(key), encoder

    return record


@pytest.fixture
def small() -> Callable[..., str]:
    """Register a backbone with other options, as a plugin would; return its name."""
    names = []

    def register(backbone: str, **options: Any) -> str:
        names.append(f"{backbone}_small")
        build = partial(build_encoder, backbone, **options)
        registry.backbones.add(names[-1], Entry(lambda in_channels: build(in_channels)))
        return names[-1]

    return register


RESIDUAL = ResEncConfig((4, 6, 8, 8, 10, 10), (1, 1, 1, 2, 1, 1))


@pytest.fixture
def small_residual(small: Callable[..., str]) -> str:
    pytest.importorskip("dynamic_network_architectures")
    return small("resenc_l", widths=RESIDUAL.widths, blocks=RESIDUAL.blocks)


def run_card(card: Path) -> dict[str, Any]:
    """Run the Python of a card, in the folder of its file."""
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def old_merging(x: Tensor, layer: nn.Module) -> Tensor:
    """``PatchMerging.forward`` of MONAI 1.4 and before, written out."""
    parts = [
        x[:, 0::2, 0::2, 0::2],
        x[:, 1::2, 0::2, 0::2],
        x[:, 0::2, 1::2, 0::2],
        x[:, 0::2, 0::2, 1::2],
        x[:, 1::2, 0::2, 1::2],
        x[:, 0::2, 1::2, 0::2],
        x[:, 0::2, 0::2, 1::2],
        x[:, 1::2, 1::2, 1::2],
    ]
    merged: Tensor = layer.reduction(layer.norm(torch.cat(parts, -1)))  # type: ignore[operator]
    return merged


@pytest.mark.parametrize("backbone", ["swin_monai", "swin_monai_legacy", "swin_voco", "swin_65m"])
def test_monai_runs_the_code_of_the_card_and_has_the_same_features(
    backbone: str, recorded: Recorded, small: Callable[..., str]
) -> None:
    folder, encoder = recorded(small(backbone, width=12))
    done = medssl_bench.export_encoder(folder, "monai")
    network = run_card(done.card)["network"].eval()
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        theirs = network.swinViT(image, network.normalize)
        ours = encoder(image)
        merged = zip(("merge1", "merge2", "merge3", "merge4"), theirs[1:], strict=True)
        for name, reference in merged:
            torch.testing.assert_close(ours[name], reference, atol=1e-4, rtol=1e-4)
        if backbone in ("swin_monai_legacy", "swin_voco"):
            layer = network.swinViT.layers2[0].downsample
            tokens = torch.randn(1, 4, 6, 2, 24)
            torch.testing.assert_close(layer(tokens), old_merging(tokens, layer))
    lost = "stage_norms.0.weight" in done.card.read_text()
    assert lost is (backbone == "swin_65m")


def test_a_monai_export_comes_back(recorded: Recorded, small: Callable[..., str]) -> None:
    name = small("swin_monai", width=12)
    folder, encoder = recorded(name)
    done = medssl_bench.export_encoder(folder, "monai", "mine.pt")
    weights = read_weights(done.file)
    assert weights.layout == "monai_swinunetr"
    again = build_encoder(name)
    load_into(again, weights, name)
    assert weights_digest(again.state_dict()) == weights_digest(encoder.state_dict())


@pytest.mark.parametrize(
    ("backbone", "options", "to", "told"),
    [
        ("swin_tiny", {}, "monai", "four stages"),
        ("swin_tiny", {}, "nnunet", "nnU-Net builds no such encoder"),
        ("swin_tiny", {}, "onnx", "no export to 'onnx'"),
        ("swin_586m", {"depths": (1, 1, 1, 1), "width": 16}, "monai", "no Swin V2 attention"),
        ("resenc_l", {"widths": RESIDUAL.widths}, "monai", "no such encoder"),
    ],
)
def test_what_the_other_side_cannot_be_is_refused(
    backbone: str,
    options: dict[str, Any],
    to: str,
    told: str,
    recorded: Recorded,
    small: Callable[..., str],
) -> None:
    folder, _ = recorded(small(backbone, **options))
    with pytest.raises(BenchError, match=told):
        medssl_bench.export_encoder(folder, to)
    assert [path.name for path in Path().iterdir()] == ["results"]


# nnU-Net


def unet(channels: int, classes: int) -> nn.Module:
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    return ResidualEncoderUNet(
        channels, num_classes=classes, n_conv_per_stage_decoder=1, deep_supervision=True,
        **RESIDUAL.arguments(),
    )  # fmt: skip


def test_nnunet_loads_it_with_its_own_loader(small_residual: str, recorded: Recorded) -> None:
    loader = pytest.importorskip("nnunetv2.run.load_pretrained_weights")
    folder, encoder = recorded(small_residual)
    done = medssl_bench.export_encoder(folder, "nnunet")
    network = unet(1, 5)  # five classes: segmentation layers are nnU-Net's own
    loader.load_pretrained_weights(network, str(done.file))
    image = torch.rand(1, 1, 32, 64, 32)
    with torch.no_grad():
        theirs = network.encoder(image.transpose(2, 4))  # nnU-Net's axes are S, A, R
        for ours, reference in zip(encoder(image).values(), theirs[1:], strict=True):
            torch.testing.assert_close(ours.transpose(2, 4), reference, atol=1e-4, rtol=1e-4)


def test_the_adaptation_plan_says_where_the_encoder_is(
    small_residual: str, recorded: Recorded
) -> None:
    """As nnU-Net's fine-tuning from nnssl reads it: stem and stages alone, by the plan's keys."""
    folder, encoder = recorded(small_residual)
    done = medssl_bench.export_encoder(folder, "nnunet")
    content = torch.load(done.file, weights_only=True)
    plan = content["nnssl_adaptation_plan"]
    json.dumps(plan)
    network = unet(1, 3)
    for ours, part in (("key_to_encoder", "stages"), ("key_to_stem", "stem")):
        key = plan[ours]
        state = {
            name.removeprefix(f"{key}."): value
            for name, value in content["network_weights"].items()
            if name.startswith(key)
        }
        getattr(network.encoder, part).load_state_dict(state)
    for key in plan["keys_to_in_proj"]:
        assert content["network_weights"][f"{key}.weight"].shape[1] == 1
    (configuration,) = plan["pretrain_plan"]["configurations"].values()
    assert configuration["patch_size"] == [96, 96, 96]
    assert configuration["spacing"] == [2.0, 1.5, 1.5]
    assert plan["architecture_plans"]["arch_class_name"] == "ResidualEncoderUNet"
    weights = read_weights(done.file)
    assert weights.layout == "nnssl"
    assert weights_digest(weights.state) == weights_digest(encoder.state_dict())


# safetensors, names and cards


def test_safetensors_keep_our_names_and_say_where_they_are_from(recorded: Recorded) -> None:
    folder, encoder = recorded("swin_tiny")
    done = medssl_bench.export_encoder(folder, "safetensors")
    again = run_card(done.card)["encoder"]
    assert weights_digest(again.state_dict()) == weights_digest(encoder.state_dict())
    with safe_open(done.file, "pt") as file:
        told = json.loads(file.metadata()["medssl_bench"])
    assert told["method"] == "smit"
    assert told["weights_digest"] == weights_digest(encoder.state_dict())
    assert read_weights(done.file).layout == "medssl"


def test_the_card_tells_origin_cost_and_scores(recorded: Recorded) -> None:
    folder, _ = recorded("swin_tiny")
    before = medssl_bench.export_encoder(folder, "safetensors", "before.safetensors")
    text = before.card.read_text()
    for part in (
        "smit (mim)", "Jiang et al.", "phantom_ct, 2 scans", digest("scans"), "CC0", folder.name,
        "| 0.500 | 0.000 | 5 | 20 |", '"ratio": 0.75', '"spacing": [', "missing: no cell",
    ):  # fmt: skip
        assert part in text, part
    data = json.loads(EXAMPLE.read_bytes())
    data["cell"]["pretraining"] = folder.name
    data["metrics"]["mean"] = {"dice_mean": 0.8125, "hd95_mean": None}
    record = Record.model_validate({**data, "key": Cell(**data["cell"]).key})
    cases = pd.DataFrame({"case": ["a"], "target": ["liver"], "status": ["ok"]})
    Store("results").write(record, cases, pd.DataFrame({"step": [1]}))
    after = medssl_bench.export_encoder(folder, "safetensors", "after.safetensors")
    cell = record.cell
    row = f"| {cell.task} | {cell.shots} | {cell.draw} | {cell.seed} | 0.812 | missing |"
    assert row in after.card.read_text() and "missing: no cell" not in after.card.read_text()
    assert "smit" not in after.file.name


def test_keys_may_be_cut_short_and_nothing_is_overwritten(recorded: Recorded) -> None:
    folder, _ = recorded("swin_tiny")
    Path("out").mkdir()
    done = medssl_bench.export_encoder(folder.name[:6], "safetensors", "out", "results")
    assert done.file == Path("out") / f"smit-swin_tiny-{folder.name[:8]}.safetensors"
    content = done.file.read_bytes()
    with pytest.raises(BenchError, match="there is such a file already"):
        medssl_bench.export_encoder(folder, "safetensors", "out")
    assert done.file.read_bytes() == content
    for word, told in (("nothere", "no pretraining of this key"), ("out", "no pretraining.json")):
        with pytest.raises(BenchError, match=told):
            medssl_bench.export_encoder(word, "safetensors", results="results")
    with pytest.raises(BenchError, match="no results in elsewhere"):
        medssl_bench.export_encoder("ab", "safetensors", results="elsewhere")


def test_damaged_weights_are_not_exported(recorded: Recorded) -> None:
    folder, _ = recorded("swin_tiny")
    file = folder / "encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"1234")
    with pytest.raises(BenchError, match="not as it was written"):
        medssl_bench.export_encoder(folder, "safetensors")
    assert not list(Path().glob("*.safetensors"))


def test_the_command_offers_what_can_be_written() -> None:
    assert set(TARGETS) == {*FORMATS, "templates"}
