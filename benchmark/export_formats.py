"""What an exported encoder looks like to MONAI, to nnU-Net and to a reader of safetensors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from medssl_bench.errors import BenchError
from medssl_bench.networks.checkpoint_file import MARK
from medssl_bench.networks.convert import ALIAS, swap_axes, to_monai
from medssl_bench.networks.resenc import ResEncConfig, ResEncoder
from medssl_bench.networks.swin import SwinEncoder
from medssl_bench.networks.swin_block import MERGE_ORDERS

if TYPE_CHECKING:
    from medssl_bench.networks.encoder import Encoder

MONAI_STAGES = 4
"""Of a ``SwinUNETR``, whatever its depths."""
NNSSL_PATCH = [160, 160, 160]
"""Patch size that nnssl recommends (nnssl:training/nnsslTrainer/AbstractTrainer.py)."""


@dataclass(frozen=True)
class Content:
    """What is written for one target."""

    data: bytes
    usage: str
    """How to load it: Markdown with a runnable piece of code."""
    differences: tuple[str, ...] = ()
    """What the other side's network does not share with ours, a sentence each."""


@dataclass(frozen=True)
class Format:
    """One target of an export."""

    suffix: str
    write: Callable[[Encoder, Mapping[str, Any], str], Content]
    """Of an encoder in eval mode, its ``pretraining.json`` and the file's name."""


def _torch_bytes(content: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _for_safetensors(encoder: Encoder, info: Mapping[str, Any], file: str) -> Content:
    from safetensors.torch import save

    told = (
        "method", "family", "reference", "config", "backbone", "in_channels", "corpus",
        "corpus_digest", "settings", "pretrain_seed", "versions", "key", "weights_digest",
    )  # fmt: skip
    header = json.dumps({word: info[word] for word in told})
    state = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    usage = f"""```python
from medssl_bench.networks import build_encoder
from safetensors.torch import load_file

encoder = build_encoder("{info["backbone"]}", in_channels={info["in_channels"]})
encoder.load_state_dict(load_file("{file}"))
```

The header's `{MARK}` entry says in JSON where the weights are from. `bench run --methods
checkpoint:{file} --backbone {info["backbone"]}` fine-tunes them."""
    return Content(save(state, {"format": "pt", MARK: header}), usage)


def _for_monai(encoder: Encoder, info: Mapping[str, Any], file: str) -> Content:
    if not isinstance(encoder, SwinEncoder):
        raise BenchError(f"backbone {info['backbone']}: MONAI's SwinUNETR has no such encoder")
    config = encoder.config
    if config.version != "v1":
        raise BenchError(
            f"backbone {info['backbone']}: MONAI has no Swin V2 attention, so its SwinUNETR cannot"
            " be this network; --to safetensors writes it"
        )
    if len(config.depths) != MONAI_STAGES or config.width % 12:
        raise BenchError(
            f"backbone {info['backbone']}: MONAI's SwinUNETR has four stages and a width that is a"
            f" multiple of 12, this has {len(config.depths)} and {config.width};"
            " --to safetensors writes it"
        )
    state = to_monai(encoder.state_dict())
    lost = [key for key in state if key.startswith("stage_norms.")]
    weights = {f"swinViT.{key}": value for key, value in state.items() if key not in lost}
    own_merging = config.merge_order != "monai"
    differences = []
    if config.maps == "stage":
        differences += [
            "The skips here are stage outputs under LayerNorm with weights; `SwinUNETR` takes patch"
            f" embedding and mergings instead. These weights are left out: {', '.join(lost)}.",
            "With `normalize=False`, `network.swinViT(image)[1:]` are exactly the levels `merge1`"
            " to `merge4` of this encoder.",
        ]
    if own_merging:
        differences.append(
            "These weights want the patch merging of MONAI before 1.5; the code below brings it,"
            " since MONAI's own joins other neighbours now."
        )
    arguments = {
        "in_channels": encoder.in_channels,
        "out_channels": 14,
        "feature_size": config.width,
        "depths": config.depths,
        "num_heads": config.heads,
        "window_size": config.window,
        "qkv_bias": config.qkv_bias,
        "patch_norm": config.patch_norm,
        "normalize": config.maps == "merge",
        "use_v2": config.convolutions,
    }
    shown = "".join(f"    {key}={value!r},\n" for key, value in arguments.items())
    shown += "    downsample=Merging,\n" if own_merging else ""
    merging = _MERGING.format(order=MERGE_ORDERS[config.merge_order]) if own_merging else ""
    usage = f"""```python
import torch
from monai.networks.nets import SwinUNETR
{merging}
network = SwinUNETR(
{shown})
weights = torch.load("{file}", weights_only=True)["state_dict"]
weights = {{key.removeprefix("swinViT."): value for key, value in weights.items()}}
network.swinViT.load_state_dict(weights)
```

`out_channels` is yours to choose; the decoder stays as MONAI initialises it."""
    data = _torch_bytes({"state_dict": weights})
    return Content(data, usage, tuple(differences))


_MERGING = """from monai.networks.nets.swin_unetr import PatchMergingV2


class Merging(PatchMergingV2):
    def forward(self, x):
        pads = [pad for side in reversed(x.shape[1:4]) for pad in (0, side % 2)]
        x = torch.nn.functional.pad(x, (0, 0, *pads))
        order = {order}
        parts = [x[:, int(i) :: 2, int(j) :: 2, int(k) :: 2] for i, j, k in order]
        return self.reduction(self.norm(torch.cat(parts, -1)))

"""


def _for_nnunet(encoder: Encoder, info: Mapping[str, Any], file: str) -> Content:
    if not isinstance(encoder, ResEncoder):
        raise BenchError(
            f"backbone {info['backbone']}: nnU-Net builds no such encoder, only ResEnc-L"
            " (resenc_l) is known to both; --to safetensors holds any encoder"
        )
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ResidualEncoderUNet(
            encoder.in_channels,
            num_classes=2,
            n_conv_per_stage_decoder=1,
            deep_supervision=False,
            **encoder.config.arguments(),
        )
        network.apply(network.initialize)
    state = {key: swap_axes(value) for key, value in encoder.state_dict().items()}
    match = network.encoder.load_state_dict(state, strict=False)
    strangers = [key for key in match.missing_keys if ALIAS not in key]
    assert not (strangers or match.unexpected_keys), strangers
    content = {
        "network_weights": network.state_dict(),
        "nnssl_adaptation_plan": _adaptation_plan(encoder, info),
        "citations": [
            {
                "type": "Pretraining method",
                "name": info["method"],
                "apa_citations": [info["reference"]],
            }
        ],
        "init_args": {},
        "trainer_name": "medssl-bench",
    }
    usage = f"""nnU-Net 2.8 loads it into a plan whose 3d_fullres network is ResEnc-L with six
stages of 3x3x3 kernels, and takes all but the segmentation layers:

```
nnUNetv2_plan_experiment -d DATASET -pl nnUNetPlannerResEncL
nnUNetv2_train DATASET 3d_fullres FOLD -p nnUNetResEncUNetLPlans \\
    -pretrained_weights {file}
```

nnU-Net with nnssl's fine-tuning (since July 2026) reads `nnssl_adaptation_plan` and takes the
encoder alone:

```
nnUNetv2_preprocess_like_nnssl -d DATASET -n NAME -pc {file} -am default_nnunet
```"""
    differences = (
        "The decoder is random: nnU-Net's own initialisation with seed 0. It is in the file because"
        " `-pretrained_weights` of nnU-Net 2.8 wants every layer.",
        "Kernels are transposed: nnU-Net's axes are S, A, R (SimpleITK), those of medssl-bench are"
        " R, A, S. Of a scan stored in RAS both networks make the same features; nnU-Net does not"
        " turn scans, so it sees those stored otherwise (LPS, for example) mirrored.",
        "nnU-Net normalises intensities by its own plan, not as in pretraining (see Input).",
    )
    return Content(_torch_bytes(content), usage, differences)


def _architecture(encoder: ResEncoder) -> dict[str, Any]:
    """Name the preset, or write its arguments out with classes as text."""
    if encoder.config == ResEncConfig():
        return {
            "arch_class_name": "ResEncL",
            "arch_kwargs": None,
            "arch_kwargs_requiring_import": None,
        }
    arguments = encoder.config.arguments()
    classes = [name for name, value in arguments.items() if isinstance(value, type)]
    for name in classes:
        arguments[name] = f"{arguments[name].__module__}.{arguments[name].__name__}"
    decoder = [1] * (arguments["n_stages"] - 1)
    nothing = {"dropout_op": None, "dropout_op_kwargs": None}
    return {
        "arch_class_name": "ResidualEncoderUNet",
        "arch_kwargs": {**arguments, "n_conv_per_stage_decoder": decoder, **nothing},
        "arch_kwargs_requiring_import": classes,
    }


def _adaptation_plan(encoder: ResEncoder, info: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the encoder as nnssl does (nnssl:adaptation_planning/adaptation_plan.py)."""
    crop = info["settings"].get("crop")
    patch = list(crop) if crop else NNSSL_PATCH
    rules = list(info.get("preprocessing", {}).values())
    spacing = list(reversed(rules[0]["spacing"])) if rules and rules[0].get("spacing") else None
    return {
        "architecture_plans": _architecture(encoder),
        "pretrain_plan": {
            "dataset_name": info["corpus"],
            "plans_name": "medssl-bench",
            "original_median_spacing_after_transp": spacing or [1.0, 1.0, 1.0],
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": {
                "medssl_bench": {
                    "data_identifier": "medssl_bench",
                    "preprocessor_name": "DefaultPreprocessor",
                    "spacing_style": "median" if spacing else "noresample",
                    "normalization_schemes": ["RescaleTo01Normalization"],
                    "use_mask_for_norm": [False],
                    "resampling_fn_data": "resample_data_or_seg_to_shape",
                    "resampling_fn_data_kwargs": {"is_seg": False, "order": 3},
                    "resampling_fn_mask": "resample_data_or_seg_to_shape",
                    "resampling_fn_mask_kwargs": {"is_seg": True, "order": 1},
                    "spacing": spacing,
                    "patch_size": patch,
                }
            },
            "experiment_planner_used": "medssl-bench",
        },
        "pretrain_num_input_channels": encoder.in_channels,
        "recommended_downstream_patchsize": patch,
        "key_to_encoder": "encoder.stages",
        "key_to_stem": "encoder.stem",
        "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
        "key_to_lpe": None,
    }


FORMATS = {
    "monai": Format("-monai.pt", _for_monai),
    "nnunet": Format("-nnunet.pth", _for_nnunet),
    "safetensors": Format(".safetensors", _for_safetensors),
}
"""By the word of ``--to``."""
