"""Published checkpoints: every layout is recognised and computes what its own network computes."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets.swin_unetr import SwinTransformer, SwinUNETR
from safetensors.torch import save_file
from torch import Tensor, nn

from medssl_bench.errors import BenchError
from medssl_bench.networks import build_encoder
from medssl_bench.networks.checkpoint_file import MARK, fit, load_into, merging_note, read_weights
from medssl_bench.networks.encoder import Encoder
from medssl_bench.networks.resenc import ResEncConfig

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        yield


def spread(module: nn.Module) -> nn.Module:
    """Give every weight, norms and biases too, a random value that matters."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 0.5)
    return module


def swin_unetr(**options: object) -> SwinUNETR:
    network = SwinUNETR(1, 2, feature_size=12, num_heads=(1, 2, 4, 4), window_size=4, **options)
    return spread(network)  # type: ignore[return-value]


def our_monai(backbone: str = "swin_monai", **options: object) -> Encoder:
    return build_encoder(backbone, width=12, heads=(1, 2, 4, 4), window=4, **options)


def saved(folder: Path, content: object, name: str = "file.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


# MONAI


def test_a_whole_swinunetr_gives_its_encoder(tmp_path: Path) -> None:
    theirs = swin_unetr()
    weights = read_weights(saved(tmp_path, {"epoch": 3, "state_dict": theirs.state_dict()}))
    assert (weights.layout, weights.holder) == ("monai_swinunetr", "state_dict")
    assert {name.partition(".")[0] for name in weights.left_out} >= {"encoder1", "decoder1", "out"}
    encoder = our_monai()
    match = load_into(encoder, weights, "swin_monai")
    assert not (match.missing or match.unexpected or match.other_shape)
    image = torch.randn(1, 1, 32, 32, 32)
    for ours, reference in zip(encoder(image).values(), theirs.swinViT(image), strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_the_second_version_of_swinunetr_convolves_before_each_stage(tmp_path: Path) -> None:
    theirs = swin_unetr(use_v2=True)
    weights = read_weights(saved(tmp_path, theirs.state_dict()))
    encoder = our_monai("swin_voco", merge_order="monai")
    match = load_into(encoder, weights, "swin_voco")
    assert len(match.matched) == len(encoder.state_dict())
    image = torch.randn(1, 1, 32, 32, 32)
    for ours, reference in zip(encoder(image).values(), theirs.swinViT(image), strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-4, rtol=1e-4)
    # Without the convolutions it would be another network, though all of its names match.
    with pytest.raises(BenchError, match=r"not the weights of swin_monai: .* unexpected"):
        fit(our_monai(), weights, "swin_monai")


def public_names(encoder: nn.Module) -> State:
    """Names of ``model_swinvit.pt``."""
    return {
        f"module.{name}".replace("linear1", "fc1").replace("linear2", "fc2"): value
        for name, value in encoder.state_dict().items()
    } | {"module.rotation_head.weight": torch.zeros(4, 192), "module.conv.0.weight": torch.ones(2)}


def test_the_public_pretraining_is_read_as_monai_reads_it(tmp_path: Path) -> None:
    source = swin_unetr()
    path = saved(tmp_path, {"state_dict": public_names(source.swinViT), "optimizer": {"lr": 1.0}})
    theirs = swin_unetr()
    theirs.load_from(torch.load(path, weights_only=True))
    weights = read_weights(path)
    assert weights.layout == "monai_ssl"
    encoder = our_monai("swin_monai_legacy")
    match = load_into(encoder, weights, "swin_monai_legacy")
    assert match.unexpected == ["rotation_head.weight", "conv.0.weight"]
    expected = theirs.swinViT.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in encoder.state_dict().items())


def test_weights_of_old_monai_name_the_backbone_that_merges_as_they_were_trained(
    tmp_path: Path,
) -> None:
    source = SwinTransformer(1, 48, (7,) * 3, (2,) * 3, (2,) * 4, (3, 6, 12, 24))
    weights = read_weights(saved(tmp_path, public_names(source)))
    with torch.device("meta"):
        new, old = build_encoder("swin_monai"), build_encoder("swin_monai_legacy")
    assert "swin_monai_legacy does as it did" in merging_note(new, weights, "swin_monai")
    assert merging_note(old, weights, "swin_monai_legacy") == ""


def test_a_disrupted_autoencoder(tmp_path: Path) -> None:
    theirs = swin_unetr().swinViT
    content = {
        "encoder." + re.sub(r"^(layers\d)\.0\.", r"\1.0.0.", name): value
        for name, value in theirs.state_dict().items()
    } | {"encoder.mask_token": torch.zeros(1, 12), "encoder.norm.weight": torch.ones(192)}
    weights = read_weights(saved(tmp_path, {"model": content}))
    assert (weights.layout, weights.holder) == ("monai_dae", "model")
    match = load_into(our_monai("swin_monai_legacy"), weights, "swin_monai_legacy")
    assert match.unexpected == ["mask_token", "norm.weight"]


def test_voco_gives_its_student(tmp_path: Path) -> None:
    """Names as in VoCo:models/voco_head.py, wrapped for several devices."""
    student, teacher = swin_unetr(use_v2=True), swin_unetr(use_v2=True)
    content = {
        f"module.{role}.{name}": value
        for role, network in (("teacher", teacher), ("student", student))
        for name, value in network.state_dict().items()
    } | {"module.student.proj_head.layer1.0.weight": torch.zeros(8, 8)}
    weights = read_weights(saved(tmp_path, content))
    assert weights.layout == "voco"
    encoder = our_monai("swin_voco")
    load_into(encoder, weights, "swin_voco")
    name = "layers2c.0.conv1.weight"
    expected = student.state_dict()["swinViT.layers2c.0.layer.conv1.conv.weight"]
    assert torch.equal(encoder.state_dict()[name], expected)


# SMIT


def smit_names(encoder: Encoder) -> State:
    """Our weights under the names of SMIT:models/Trans.py (``smit_plus.py`` for Swin V2)."""
    names = {}
    for name, value in encoder.state_dict().items():
        name = re.sub(r"^layers(\d)\.0\.", lambda m: f"layers.{int(m[1]) - 1}.", name)
        name = re.sub(r"^stage_norms\.(\d)\.", r"norm\1.", name)
        name = re.sub(r"^final_norm\.", "norm.", name)
        names[name.replace("linear1", "fc1").replace("linear2", "fc2")] = value
    index = {name: value for name, value in names.items() if name.endswith("bias_table")}
    return names | {
        name.replace("bias_table", "index"): torch.zeros(64, 64, dtype=torch.int64)
        for name in index
    }


def smit_merging(tokens: Tensor, state: State, stage: str) -> Tensor:
    """PatchMerging of SMIT:models/Trans.py, written out."""
    order = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1))
    joined = torch.cat([tokens[:, i::2, j::2, k::2] for i, j, k in order], -1)
    weight, bias = (state[f"{stage}.downsample.norm.{part}"] for part in ("weight", "bias"))
    reduction = state[f"{stage}.downsample.reduction.weight"]
    if weight.shape[0] == joined.shape[-1]:
        return nn.functional.layer_norm(joined, weight.shape, weight, bias) @ reduction.T
    return nn.functional.layer_norm(joined @ reduction.T, weight.shape, weight, bias)


@pytest.mark.parametrize(
    ("backbone", "options", "wrap"),
    [
        ("swin_smit_ct", {}, lambda state: {f"module.{k}": v for k, v in state.items()}),
        (
            "swin_smit_heart",
            {},
            lambda state: {
                "student": {f"module.backbone.transformer.{k}": v for k, v in state.items()},
                "args": argparse.Namespace(lr=1e-3),
                "teacher": {},
            },
        ),
        (
            "swin_smit_lung",
            {},
            lambda state: {
                "state_dict": {f"transformer.{k}": v for k, v in state.items()},
                "best_acc": np.float64(0.8),
            },
        ),
        ("swin_586m", {"depths": (1, 1, 1, 1)}, lambda state: {"state_dict": state}),
    ],
)
def test_smit_merges_its_neighbours_in_an_order_of_its_own(
    backbone: str, options: dict[str, object], wrap: Callable[[State], object], tmp_path: Path
) -> None:
    small = {"width": 16, **options}
    theirs = smit_names(spread(build_encoder(backbone, **small)))  # type: ignore[arg-type]
    weights = read_weights(saved(tmp_path, wrap(theirs)))
    assert weights.layout == "smit"
    encoder = build_encoder(backbone, **small)
    match = load_into(encoder, weights, backbone)
    assert not (match.missing or match.unexpected)
    for number, stage in enumerate(encoder.stages()):
        tokens = torch.randn(1, 4, 4, 4, 16 * 2**number)
        expected = smit_merging(tokens, theirs, f"layers.{number}")
        torch.testing.assert_close(stage.downsample(tokens), expected, atol=1e-4, rtol=1e-4)
    if encoder.config.stage_norm:
        assert torch.equal(encoder.state_dict()["stage_norms.2.weight"], theirs["norm2.weight"])


# nnU-Net


def residual_unet(**changes: object) -> nn.Module:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    config = ResEncConfig((4, 6, 8, 8, 10, 10), (1, 1, 1, 2, 1, 1))
    arguments = {**config.arguments(), **changes}
    return spread(unet.ResidualEncoderUNet(1, num_classes=2, n_conv_per_stage_decoder=1,
                                           **arguments))  # fmt: skip


def our_residual() -> Encoder:
    return build_encoder("resenc_l", widths=(4, 6, 8, 8, 10, 10), blocks=(1, 1, 1, 2, 1, 1))


PLAN = {
    "architecture_plans": {"arch_class_name": "ResEncL"},
    "key_to_encoder": "encoder.stages",
    "key_to_stem": "encoder.stem",
}


@pytest.mark.parametrize(("plan", "layout"), [(PLAN, "nnssl"), (None, "nnunet")])
def test_the_residual_encoder_of_nnunet(plan: object, layout: str, tmp_path: Path) -> None:
    theirs = residual_unet()
    content = {"network_weights": theirs.state_dict(), "init_args": {"fold": 0}, "logging": {}}
    if plan is not None:
        content["nnssl_adaptation_plan"] = plan  # type: ignore[assignment]
    weights = read_weights(saved(tmp_path, content, "checkpoint_final.pth"))
    assert (weights.layout, weights.holder) == (layout, "network_weights")
    encoder = our_residual()
    match = load_into(encoder, weights, "resenc_l")
    assert not (match.missing or match.unexpected or match.other_shape)
    image = torch.randn(1, 1, 32, 32, 64)
    # nnU-Net's axes are S, A, R; ours are R, A, S.
    reference = theirs.encoder(image.transpose(2, 4))[1:]  # type: ignore[operator]
    features = list(encoder.to(memory_format=torch.channels_last_3d)(image).values())
    for ours, expected in zip(features, reference, strict=True):
        torch.testing.assert_close(ours.transpose(2, 4), expected, atol=1e-4, rtol=1e-4)
    sum((f * f.detach().cos()).sum() for f in features).backward()
    sum((f * f.detach().cos()).sum() for f in reference).backward()
    theirs_by_name = dict(theirs.named_parameters())
    largest = max(float(p.grad.abs().max()) for p in theirs.parameters() if p.grad is not None)
    for name, parameter in encoder.named_parameters():
        expected = theirs_by_name[f"encoder.{name}"].grad
        if expected.ndim == 5:
            expected = expected.transpose(2, 4)
        torch.testing.assert_close(
            parameter.grad, expected, atol=2e-4 * largest, rtol=1e-3, msg=name
        )


def test_a_transformer_of_nnssl_is_refused_by_name(tmp_path: Path) -> None:
    content = {
        "network_weights": {"eva.blocks.0.weight": torch.zeros(2)},
        "nnssl_adaptation_plan": {"architecture_plans": {"arch_class_name": "PrimusM"}},
    }
    with pytest.raises(BenchError, match="nnssl checkpoint of PrimusM"):
        read_weights(saved(tmp_path, content))


# Ours, and files of no layout


def test_plain_states_and_safetensors(tmp_path: Path) -> None:
    encoder = spread(build_encoder("swin_tiny"))
    state = encoder.state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    save_file(state, tmp_path / "plain.safetensors")
    save_file(state, tmp_path / "ours.safetensors", metadata={MARK: "{}"})
    layouts = {}
    for path in (
        saved(tmp_path, state, "plain.pt"),
        saved(tmp_path, {"model": wrapped, "epoch": 3}, "wrapped.pth"),
        tmp_path / "plain.safetensors",
        tmp_path / "ours.safetensors",
    ):
        weights = read_weights(path)
        layouts[path.name] = weights.layout
        fresh = build_encoder("swin_tiny")
        assert not load_into(fresh, weights, "swin_tiny").missing
        assert all(torch.equal(value, state[name]) for name, value in fresh.state_dict().items())
    assert layouts == {
        "plain.pt": "plain",
        "wrapped.pth": "plain",
        "plain.safetensors": "plain",
        "ours.safetensors": "medssl",
    }


def test_norms_may_be_missing_but_no_matrix_and_no_table(tmp_path: Path) -> None:
    state = build_encoder("swin_tiny").state_dict()
    without = {name: value for name, value in state.items() if "stage_norms" not in name}
    encoder = build_encoder("swin_tiny")
    match = load_into(encoder, read_weights(saved(tmp_path, without)), "swin_tiny")
    assert len(match.missing) == 6
    assert torch.equal(encoder.stage_norms[1].weight, torch.ones(32))
    for name in ("layers2.0.blocks.1.mlp.linear1.weight", "patch_embed.proj.weight"):
        less = {key: value for key, value in state.items() if key != name}
        with pytest.raises(BenchError, match=re.escape(f"1 missing (first: {name})")):
            fit(encoder, read_weights(saved(tmp_path, less)), "swin_tiny")


def test_weights_of_another_backbone_name_the_one_they_fit(tmp_path: Path) -> None:
    weights = read_weights(saved(tmp_path, build_encoder("swin_tiny").state_dict()))
    encoder = build_encoder("swin_monai", width=12)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(BenchError, match=r"tensors matched.*they fit swin_tiny") as error:
        load_into(encoder, weights, "swin_monai")
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    stranger = read_weights(saved(tmp_path, {"layer.weight": torch.ones(2, 2)}))
    with pytest.raises(BenchError, match="0 tensors matched.*no registered backbone"):
        fit(encoder, stranger, "swin_monai")


class Code:
    """What a hostile pickle looks like: loading it would run a command."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch harmed",)


def test_files_that_cannot_be_trusted_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = build_encoder("swin_tiny").state_dict()
    whole = saved(tmp_path, state, "whole.pt").read_bytes()
    save_file(state, tmp_path / "whole.safetensors")
    Path("cut.pt").write_bytes(whole[: len(whole) // 2])
    Path("empty.pt").write_bytes(b"")
    Path("text.pt").write_text("hello world, these are no weights")
    Path("plain.pkl").write_bytes(pickle.dumps({"state_dict": Code()}))
    Path("cut.safetensors").write_bytes(Path("whole.safetensors").read_bytes()[:-100])
    Path("folder").mkdir()
    saved(tmp_path, {"state_dict": state, "more": Code()}, "code.pt")
    saved(tmp_path, nn.Linear(2, 2), "module.pt")
    saved(tmp_path, [1, 2], "list.pt")
    saved(tmp_path, {"epoch": 3, "loss": 0.1}, "none.pt")
    saved(tmp_path, {**state, "patch_embed.proj.bias": torch.full((16,), torch.nan)}, "nan.pt")
    for name, told in {
        "gone.pt": "no such checkpoint",
        "cut.pt": "cut short",
        "empty.pt": "not a checkpoint",
        "text.pt": "not a checkpoint",
        "plain.pkl": "not a checkpoint",
        "cut.safetensors": "cut short",
        "folder": "pretraining.json",
        "code.pt": "holds code",
        "module.pt": "holds code (torch.nn.modules.linear.Linear)",
        "list.pt": "holds a list",
        "none.pt": "no weights in it, only epoch, loss",
        "nan.pt": "patch_embed.proj.bias holds values that are not finite",
    }.items():
        with pytest.raises(BenchError) as error:
            read_weights(Path(name))
        line = str(error.value)
        assert name in line and told in line and "\n" not in line, line
    assert not Path("harmed").exists()
