"""The backbones by name, and how encoders and segmentors are built from a name.

Importing this package does not import torch: names, sizes and abilities are known without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medssl_bench.registry import Entry, backbones

if TYPE_CHECKING:
    from medssl_bench.networks.classifier import Classifier
    from medssl_bench.networks.encoder import Encoder
    from medssl_bench.networks.segmentor import Segmentor


def _swin(name: str, summary: str, params_m: float, stages: int, window: int, **info: Any) -> Entry:
    """Describe a Swin encoder; ``params_m``: millions in the segmentor with two output channels."""
    stride = 2 ** (stages + 1)
    facts = {
        "family": "swin",
        "params_m": params_m,
        "stages": stages,
        "total_stride": stride,
        "crop_multiple": stride,
        "mask_input": True,
        "window": window,
        "decoder": {},
    }
    return Entry(f"medssl_bench.networks.swin:{name}", summary, {**facts, **info})


def _brainmvp(name: str, module: str, summary: str, params_m: float, **info: Any) -> Entry:
    """Describe an encoder of paper 003, which hides voxels; ``params_m`` as in :func:`_swin`."""
    return Entry(
        f"medssl_bench.networks.{module}:{name}",
        summary,
        {
            "family": module,
            "params_m": params_m,
            "total_stride": 2 ** info["stages"],
            "crop_multiple": 2 ** info["stages"],
            "mask_input": True,
            "decoder": {"norm": "instance", "skips": "raw", "deep_supervision": True},
            **info,
        },
    )


BACKBONES: dict[str, Entry] = {
    "swin_65m": _swin("swin_65m", "paper 004: SMIT96, SimMIM, iBOT, DINO and others", 64.70, 4, 4),
    "swin_276m": _swin("swin_276m", "paper 004: SMITS", 276.34, 4, 4),
    "swin_586m": _swin("swin_586m", "paper 004: SMITp, Swin V2", 586.14, 4, 4),
    "swin_monai": _swin(
        "swin_monai", "SwinUNETR as MONAI ships it", 62.19, 4, 7, decoder={"norm": "instance"}
    ),
    "swin_monai_legacy": _swin(
        "swin_monai_legacy",
        "SwinUNETR of MONAI before 1.5: the public pretrained weights",
        62.19,
        4,
        7,
        decoder={"norm": "instance"},
    ),
    "swin_voco": _swin(
        "swin_voco",
        "SwinUNETR-V2 of MONAI before 1.5: VoCo's weights",
        72.76,
        4,
        7,
        decoder={"norm": "instance"},
    ),
    "swin_smit_ct": _swin("swin_smit_ct", "SMIT's own released weights", 62.90, 4, 4),
    "swin_smit_heart": _swin("swin_smit_heart", "SMIT-HeartSubSeg's weights", 66.50, 4, 4),
    "swin_smit_lung": _swin("swin_smit_lung", "MHub's SMIT weights", 64.71, 4, 4),
    "resenc_l": Entry(
        "medssl_bench.networks.resenc:resenc_l",
        "nnU-Net's ResEnc-L: nnssl's and OpenMind's weights (needs the extra nnunet)",
        {
            "family": "resenc",
            "params_m": 118.40,
            "stages": 6,
            "total_stride": 32,
            "crop_multiple": 32,
            "mask_input": False,
            "decoder": {"norm": "instance"},
        },
    ),
    "uniformer3d": _brainmvp(
        "uniformer3d", "uniformer", "paper 003: BrainMVP's UniFormer-Small", 34.32, stages=4
    ),
    "unet3d": _brainmvp(
        "unet3d",
        "unet",
        "paper 003: BrainMVP's U-Net with group norm",
        23.87,
        stages=3,
        decoder={"norm": "instance"},
    ),
    "uniformer_tiny": _brainmvp(
        "uniformer_tiny",
        "uniformer",
        "UniFormer of three stages for two CPU cores and 48^3 crops",
        1.11,
        stages=3,
        decoder={"norm": "instance", "skips": "raw", "subpixel": True},
    ),
    "swin_tiny": _swin(
        "swin_tiny",
        "three stages for two CPU cores and 48^3 crops",
        1.70,
        3,
        4,
        decoder={"norm": "instance", "subpixel": True},
    ),
}


def build_encoder(name: str, in_channels: int = 1, **options: Any) -> Encoder:
    """Build an encoder with fresh weights.

    Args:
        name: a registered backbone.
        in_channels: channels of the image.
        options: fields of the backbone's configuration to change (``drop_path=0.1``).

    Raises:
        BenchError: unknown backbone or option.
    """
    encoder: Encoder = backbones.load(name)(in_channels, **options)
    return encoder


def build_segmentor(
    name: str, in_channels: int, out_channels: int, encoder: Encoder | None = None, **options: Any
) -> Segmentor:
    """Build the fine-tuning network: an encoder and a U-shaped decoder with fresh weights.

    Args:
        name: a registered backbone.
        in_channels: channels of the image.
        out_channels: classes of the logits, background included.
        encoder: take this one instead of a fresh one (it is not copied).
        options: ``norm`` (``batch`` or ``instance``), ``subpixel``, ``skips`` and
            ``deep_supervision`` of the decoder; everything else goes to :func:`build_encoder`.

    Raises:
        BenchError: unknown backbone or option, or encoder options beside a given encoder.
    """
    import torch

    from medssl_bench.errors import BenchError
    from medssl_bench.networks.segmentor import Segmentor

    decoder = dict(backbones.entry(name).info.get("decoder", {}))
    of_decoder = ("norm", "subpixel", "skips", "deep_supervision")
    decoder |= {key: options.pop(key) for key in of_decoder if key in options}
    if encoder is None:
        encoder = build_encoder(name, in_channels, **options)
    elif options:
        raise BenchError(f"{name}: the encoder is given, so {sorted(options)} cannot be set")
    network = Segmentor(encoder, in_channels, out_channels, **decoder)
    return network.to(memory_format=torch.channels_last_3d)


def build_classifier(encoder: Encoder, classes: int) -> Classifier:
    """Build the network that classifies whole volumes around an encoder (it is not copied)."""
    import torch

    from medssl_bench.networks.classifier import Classifier

    return Classifier(encoder, classes).to(memory_format=torch.channels_last_3d)
