"""Facts that hold for every backbone, and the parameter counts of paper 004."""

import subprocess
import sys

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.networks import BACKBONES, build_encoder, build_segmentor


def _millions(name: str, **options: object) -> float:
    with torch.device("meta"):
        network = build_segmentor(name, 1, 2, **options)
    return sum(p.numel() for p in network.parameters()) / 1e6


@pytest.fixture(params=BACKBONES)
def name(request: pytest.FixtureRequest) -> str:
    """Each backbone whose library is installed."""
    if request.param == "resenc_l":
        pytest.importorskip("dynamic_network_architectures")
    return str(request.param)


def test_listed_facts_are_those_of_the_network(name: str) -> None:
    info = BACKBONES[name].info
    with torch.device("meta"):
        encoder = build_encoder(name)
    assert _millions(name) == pytest.approx(info["params_m"], abs=0.005)
    assert encoder.total_stride == info["total_stride"] == info["crop_multiple"]
    assert bool(encoder.mask_channels) == info["mask_input"]
    if info["family"] == "swin":
        assert len(encoder.config.depths) == info["stages"]
        assert encoder.config.window == info["window"]


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("swin_65m", {}, 64.6997),
        ("swin_65m", {"norm": "instance"}, 64.6903),
        ("swin_65m", {"norm": "instance", "qkv_bias": True}, 64.6981),
        ("swin_65m", {"qkv_bias": True}, 64.7074),
        ("swin_65m", {"norm": "instance", "heads": (3, 6, 12, 24)}, 64.7075),
        ("swin_276m", {}, 276.3436),
        ("swin_276m", {"norm": "instance"}, 276.3250),
        ("swin_586m", {}, 586.136),
        ("swin_586m", {"norm": "instance"}, 586.1114),
        ("swin_monai", {}, 62.187),
    ],
)
def test_parameter_counts_of_the_paper_and_its_variants(
    name: str, options: dict[str, object], millions: float
) -> None:
    assert _millions(name, **options) == pytest.approx(millions, abs=0.0006)


def test_encoder_alone_counts_as_published() -> None:
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in build_encoder("swin_65m", qkv_bias=bias).parameters())
            for bias in (False, True)
        ]
    assert counts == [10_565_632, 10_573_408]


def test_levels_have_the_declared_shape(name: str) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name, in_channels=2).eval()
        image = torch.empty(1, 2, 64, 32, 32)
        features = encoder(image)
    assert list(features) == [level.name for level in encoder.levels]
    for level in encoder.levels:
        sides = tuple(side // level.stride for side in (64, 32, 32))
        assert features[level.name].shape == (1, level.channels, *sides)
    assert encoder.levels[-1].stride == encoder.total_stride


def test_the_deepest_level_of_stride_16_is_the_map_after_the_third_merging() -> None:
    with torch.device("meta"):
        encoder = build_encoder("swin_65m")
    assert (encoder.level(16).name, encoder.level(16).channels) == ("merge3", 384)
    assert [level.name for level in encoder.pyramid()] == [
        "stage1", "stage2", "stage3", "stage4", "merge4",
    ]  # fmt: skip
    with pytest.raises(KeyError, match="stride 5"):
        encoder.level(5)


def test_block_names_follow_the_depths() -> None:
    with torch.device("meta"):
        blocks = build_encoder("swin_65m").blocks()
    assert len(blocks) == 14
    assert list(blocks)[:3] == ["stage1.block1", "stage1.block2", "stage2.block1"]


def test_unknown_names_and_options_are_refused_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="swin_tiny"):
        build_encoder("swin_tinny")
    with pytest.raises(BenchError, match="drop_path"):
        build_encoder("swin_tiny", drop_paths=0.1)
    with pytest.raises(BenchError, match="heads"):
        build_encoder("swin_tiny", heads=(3, 3, 3))
    with pytest.raises(BenchError, match="norm"):
        build_segmentor("swin_tiny", 1, 2, norm="group")
    with pytest.raises(BenchError, match="given"):
        build_segmentor("swin_tiny", 1, 2, build_encoder("swin_tiny"), drop_path=0.2)
    with pytest.raises(BenchError, match="channels"):
        build_segmentor("swin_tiny", 2, 2, build_encoder("swin_tiny"))


def test_the_table_is_read_without_torch() -> None:
    code = "import sys, medssl_bench.networks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
