"""Our encoder and decoder compute what MONAI's do on shared weights, and weights travel."""

from collections.abc import Iterator

import pytest
import torch
from monai.networks.nets.swin_unetr import SwinTransformer, SwinUNETR
from torch import nn

from medssl_bench.errors import BenchError
from medssl_bench.networks import build_encoder, build_segmentor
from medssl_bench.networks.convert import compare, from_monai, load_matching, to_monai


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        yield


def _spread(module: nn.Module) -> None:
    """Give every weight, norms and biases too, a random value that matters."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 0.5)


def _pair(
    window: int, depths: tuple[int, ...], qkv_bias: bool = True
) -> tuple[nn.Module, nn.Module]:
    theirs = SwinTransformer(
        in_chans=1,
        embed_dim=12,
        window_size=(window,) * 3,
        patch_size=(2, 2, 2),
        depths=depths,
        num_heads=(1, 2, 4, 4),
        qkv_bias=qkv_bias,
    )
    _spread(theirs)
    ours = build_encoder(
        "swin_monai", width=12, window=window, depths=depths, heads=(1, 2, 4, 4), qkv_bias=qkv_bias
    )
    ours.load_state_dict(from_monai(theirs.state_dict()))
    return ours, theirs


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((32, 32, 32), 4),  # grids 16, 8, 4, 2: whole windows, one window, less than one
        ((96, 32, 32), 4),  # 48 x 16 x 16, and 6 at stage 4: padded windows
        ((32, 32, 32), 7),  # nothing divides 7; axes shorter than a window
        ((32, 32, 32), 3),  # odd window
    ],
)
def test_encoder_equals_monai(size: tuple[int, int, int], window: int) -> None:
    ours, theirs = _pair(window, (2, 2, 2, 2))
    image = torch.randn(1, 1, *size)
    expected = theirs(image, normalize=True)
    features = list(ours(image).values())
    for feature, reference in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, reference, atol=1e-5, rtol=1e-5)
    sum(f.square().mean() for f in features[1:]).backward()
    sum(f.square().mean() for f in expected[1:]).backward()
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        if parameter.grad is not None:
            grad = mine[from_monai_name(name)].grad
            torch.testing.assert_close(grad, parameter.grad, atol=1e-5, rtol=1e-3, msg=name)


def from_monai_name(name: str) -> str:
    return next(iter(from_monai({name: torch.empty(0)})))


def test_encoder_equals_monai_on_three_cubed_grids_smaller_than_the_window() -> None:
    ours, theirs = _pair(4, (2, 2, 2, 2), qkv_bias=False)
    tokens = torch.randn(1, 3, 3, 3, 12)
    expected = theirs.layers1[0](tokens.permute(0, 4, 1, 2, 3))
    stage = ours.stages()[0]
    got = stage.downsample(stage.run(tokens)).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_segmentor_equals_monai_swinunetr_and_weights_go_both_ways() -> None:
    theirs = SwinUNETR(1, 3, feature_size=12, num_heads=(1, 2, 4, 4), window_size=4)
    _spread(theirs)
    ours = build_segmentor("swin_monai", 1, 3, width=12, heads=(1, 2, 4, 4), window=4)
    ours.load_state_dict(from_monai(theirs.state_dict()))
    image = torch.randn(2, 1, 32, 32, 64)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-4, rtol=1e-4)

    exported = to_monai(ours.state_dict())
    reference = theirs.state_dict()
    assert set(exported) == set(reference)
    assert all(torch.equal(exported[name], reference[name]) for name in reference)
    theirs.load_state_dict(exported)
    encoder_only = to_monai(ours.encoder.state_dict())
    theirs.swinViT.load_state_dict(encoder_only)


def test_batch_norm_segmentor_equals_monai() -> None:
    theirs = SwinUNETR(
        1, 2, feature_size=12, num_heads=(1, 2, 4, 4), window_size=4, norm_name="batch"
    )
    ours = build_segmentor("swin_monai", 1, 2, width=12, heads=(1, 2, 4, 4), window=4, norm="batch")
    ours.load_state_dict(from_monai(theirs.state_dict()))
    image = torch.randn(2, 1, 32, 32, 64)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.eval()(image), theirs.eval()(image), atol=1e-4, rtol=1e-4)


def _public_checkpoint(encoder: SwinTransformer) -> dict[str, torch.Tensor]:
    """Write weights in the layout of ``model_swinvit.pt``, pretext heads included."""
    state = {
        f"module.{name}".replace("linear1", "fc1").replace("linear2", "fc2"): tensor
        for name, tensor in encoder.state_dict().items()
    }
    return state | {"module.rotation_head.weight": torch.zeros(4, 192)}


def test_public_pretraining_checkpoint_loads_as_monai_loads_it() -> None:
    source = SwinUNETR(1, 2, feature_size=12, num_heads=(3, 6, 12, 24))
    _spread(source)
    checkpoint = _public_checkpoint(source.swinViT)
    theirs = SwinUNETR(1, 2, feature_size=12, num_heads=(3, 6, 12, 24))
    theirs.load_from({"state_dict": checkpoint})

    ours = build_encoder("swin_monai", width=12)
    match = load_matching(ours, from_monai(checkpoint))
    assert not match.missing
    assert match.unexpected == ["rotation_head.weight"]
    expected = {name: t for name, t in theirs.swinViT.state_dict().items() if "index" not in name}
    assert all(torch.equal(ours.state_dict()[name], expected[name]) for name in expected)


def test_disrupted_autoencoder_layout_is_understood() -> None:
    encoder = build_encoder("swin_monai", width=12)
    layout = {
        "encoder." + name.replace("layers1.0.", "layers1.0.0."): tensor
        for name, tensor in encoder.state_dict().items()
    } | {"encoder.mask_token": torch.zeros(12)}
    match = compare(encoder, from_monai(layout))
    assert not match.missing
    assert match.unexpected == ["mask_token"]


def test_weights_of_another_network_are_refused_and_leave_this_one_alone() -> None:
    encoder = build_encoder("swin_tiny")
    before = encoder.state_dict()["patch_embed.proj.weight"].clone()
    other = build_encoder("swin_monai", width=12).state_dict()
    with pytest.raises(BenchError, match="hardly fit"):
        load_matching(encoder, other)
    network = build_segmentor("swin_tiny", 1, 2, encoder)
    with pytest.raises(BenchError, match="missing"):
        network.load_encoder({})
    with pytest.raises(BenchError, match="other shape"):
        network.load_encoder(build_encoder("swin_tiny", width=32).state_dict())
    assert torch.equal(encoder.state_dict()["patch_embed.proj.weight"], before)


def test_pretrained_encoder_arrives_in_the_segmentor() -> None:
    pretrained = build_encoder("swin_tiny")
    network = build_segmentor("swin_tiny", 1, 2)
    network.load_encoder(pretrained.state_dict())
    image = torch.rand(1, 1, 32, 32, 32)
    for feature, reference in zip(
        network.encoder(image).values(), pretrained(image).values(), strict=True
    ):
        assert torch.equal(feature, reference)
