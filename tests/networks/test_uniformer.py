"""UniFormer and U-Net of paper 003 against float64 computations, and the counts of its code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medssl_bench.errors import BenchError
from medssl_bench.networks import build_encoder, build_segmentor
from medssl_bench.networks.encoder import Encoder
from medssl_bench.networks.uniformer import AttentionBlock, ConvolutionBlock
from medssl_bench.stages.loss import segmentation_loss, supervised_loss

SMALL = {
    "uniformer3d": {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "head_width": 8},
    "unet3d": {"width": 8, "blocks": (1, 1, 1)},
}


def small(name: str, in_channels: int = 1, **options: object) -> Encoder:
    torch.manual_seed(0)
    encoder = build_encoder(name, in_channels, **SMALL[name], **options)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 0.5)
    return encoder


def channel_norm(volume: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    mean = volume.mean(axes, keepdim=True)
    variance = (volume - mean).square().mean(axes, keepdim=True)
    return (volume - mean) / (variance + eps).sqrt()


def uniformer_by_hand(state: dict[str, Tensor], image: Tensor, heads: dict[int, int]) -> Tensor:
    """Training mode, channels-first, with unfolded attention: the network as its paper tells it."""
    volume = image

    def scale(part: str, value: Tensor) -> Tensor:
        shape = (1, -1, 1, 1, 1)
        return value * state[f"{part}.weight"].view(shape) + state[f"{part}.bias"].view(shape)

    def convolve(part: str, value: Tensor, groups: int = 1) -> Tensor:
        weight = state[f"{part}.weight"]
        pad = weight.shape[-1] // 2
        return functional.conv3d(value, weight, state[f"{part}.bias"], padding=pad, groups=groups)

    for stage in (1, 2, 3, 4):
        embed, block = f"patch_embed{stage}", f"blocks{stage}.0"
        weight = state[f"{embed}.proj.weight"]
        volume = functional.conv3d(volume, weight, state[f"{embed}.proj.bias"], stride=2)
        volume = scale(f"{embed}.norm", channel_norm(volume, (1,), 1e-5))
        width = volume.shape[1]
        volume = volume + convolve(f"{block}.pos_embed", volume, width)
        if stage in (1, 2):
            inner = scale(f"{block}.norm1", channel_norm(volume, (0, 2, 3, 4), 1e-5))
            inner = convolve(f"{block}.attn", convolve(f"{block}.conv1", inner), width)
            volume = volume + convolve(f"{block}.conv2", inner)
            inner = scale(f"{block}.norm2", channel_norm(volume, (0, 2, 3, 4), 1e-5))
            inner = functional.gelu(convolve(f"{block}.mlp.fc1", inner))
            volume = volume + convolve(f"{block}.mlp.fc2", inner)
            continue
        inner = scale(f"{block}.norm1", channel_norm(volume, (1,), 1e-6)).flatten(2)
        joint = torch.einsum("oc,bcn->bon", state[f"{block}.attn.qkv.weight"], inner)
        joint = joint + state[f"{block}.attn.qkv.bias"].view(1, -1, 1)
        query, key, value = joint.chunk(3, dim=1)
        out = torch.empty_like(query)
        each = width // heads[stage]
        for head in range(heads[stage]):
            own = slice(head * each, (head + 1) * each)
            logits = torch.einsum("bcq,bck->bqk", query[:, own], key[:, own]) / each**0.5
            weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
            out[:, own] = torch.einsum("bqk,bck->bcq", weights, value[:, own])
        out = torch.einsum("oc,bcn->bon", state[f"{block}.attn.proj.weight"], out)
        out = out + state[f"{block}.attn.proj.bias"].view(1, -1, 1)
        volume = volume + out.view_as(volume)
        inner = scale(f"{block}.norm2", channel_norm(volume, (1,), 1e-6)).flatten(2)
        inner = torch.einsum("oc,bcn->bon", state[f"{block}.mlp.fc1.weight"], inner)
        inner = functional.gelu(inner + state[f"{block}.mlp.fc1.bias"].view(1, -1, 1))
        inner = torch.einsum("oc,bcn->bon", state[f"{block}.mlp.fc2.weight"], inner)
        inner = inner + state[f"{block}.mlp.fc2.bias"].view(1, -1, 1)
        volume = volume + inner.view_as(volume)
    return scale("norm", channel_norm(volume, (0, 2, 3, 4), 1e-5))


def test_uniformer_equals_a_float64_computation() -> None:
    encoder = small("uniformer3d", in_channels=2).train()
    image = torch.rand(2, 2, 16, 32, 16)
    state = {name: value.double() for name, value in encoder.state_dict().items()}
    expected = uniformer_by_hand(state, image.double(), {3: 2, 4: 2})
    found = encoder(image)["stage4"]
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_gradients_keep_the_layout_of_the_maps() -> None:
    """Adding up gradients of two layouts took 15 times longer than of one."""
    encoder = build_encoder("uniformer3d", **SMALL["uniformer3d"])
    layouts = []
    for block in encoder.modules():
        if isinstance(block, ConvolutionBlock | AttentionBlock):
            block.register_full_backward_hook(
                lambda _, of_input, __: layouts.append(
                    of_input[0].is_contiguous(memory_format=torch.channels_last_3d)
                )
            )
    maps = encoder(torch.rand(2, 1, 32, 32, 64))
    assert all(each.is_contiguous(memory_format=torch.channels_last_3d) for each in maps.values())
    maps["stage4"].backward(torch.randn_like(maps["stage4"]))
    assert layouts == [True] * 4


def test_unet_equals_a_float64_computation() -> None:
    encoder = small("unet3d")
    image = torch.rand(2, 1, 8, 16, 8)
    state = {name: value.double() for name, value in encoder.state_dict().items()}

    def convolve(part: str, value: Tensor, stride: int = 1) -> Tensor:
        weight, bias = state[f"{part}.weight"], state[f"{part}.bias"]
        return functional.conv3d(value, weight, bias, stride=stride, padding=1)

    def block(part: str, value: Tensor) -> Tensor:
        inner = value
        for turn in ("1", "2"):
            split = inner.unflatten(1, (8, -1))
            normed = channel_norm(split, (2, 3, 4, 5), 1e-5).flatten(1, 2)
            scale, shift = (state[f"{part}.gn{turn}.{w}"] for w in ("weight", "bias"))
            normed = normed * scale.view(1, -1, 1, 1, 1) + shift.view(1, -1, 1, 1, 1)
            inner = convolve(f"{part}.conv{turn}", normed.clamp(min=0))
        return value + inner

    volume = block("conv1b", convolve("conv1a", image.double()))
    second = block("conv2a", convolve("ds1", volume, stride=2))
    third = block("conv3a", convolve("ds2", second, stride=2))
    found = encoder(image)
    assert list(found) == ["stage2", "stage3"]
    torch.testing.assert_close(found["stage2"].double(), second, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["stage3"].double(), third, rtol=1e-4, atol=1e-4)


def test_parameter_counts_are_those_of_brainmvps_code() -> None:
    """Counted on its networks: ``uniformer_small(in_chans=1)``, the encoder of ``RecModel``
    (U-Net), and ``UniUnet`` of one channel and two classes, without and with its two auxiliary
    outputs."""
    with torch.device("meta"):
        encoders = [build_encoder(name) for name in ("uniformer3d", "unet3d")]
        segmentors = [
            build_segmentor("uniformer3d", 1, 2, deep_supervision=deep) for deep in (False, True)
        ]
        several = build_segmentor("uniformer3d", 4, 3)
    counts = [sum(p.numel() for p in net.parameters()) for net in (*encoders, *segmentors, several)]
    assert counts == [22_038_464, 17_594_112, 34_316_226, 34_316_614, 34_323_593]


@pytest.mark.parametrize("name", SMALL)
def test_a_mask_hides_voxels(name: str) -> None:
    encoder = small(name, in_channels=2).eval()
    image, token = torch.rand(1, 2, 32, 32, 32), torch.tensor([0.25, -1.0])
    mask = torch.rand(1, 4, 4, 4) < 0.5
    hidden = mask[0]
    for axis in range(3):
        hidden = hidden.repeat_interleave(8, axis)
    changed = image.clone()
    changed[0, 0][hidden], changed[0, 1][hidden] = 0.25, -1.0
    assert encoder.mask_channels == 2
    found, expected = encoder(image, mask, token), encoder(changed)
    assert all(torch.equal(found[level], expected[level]) for level in expected)
    with pytest.raises(BenchError, match="mask token"):
        encoder(image, mask)
    with pytest.raises(BenchError, match="does not divide"):
        encoder(image, torch.zeros(1, 5, 4, 4, dtype=torch.bool), token)


@pytest.mark.parametrize("name", SMALL)
def test_drop_path_acts_in_training_alone(name: str) -> None:
    image = torch.rand(2, 1, 32, 32, 32)
    encoder, level = small(name, drop_path=0.5), "stage3"
    one, other = (encoder.train()(image)[level] for _ in range(2))
    assert not torch.equal(one, other)
    one, other = (encoder.eval()(image)[level] for _ in range(2))
    assert torch.equal(one, other)


def test_deep_supervision_is_for_training_alone() -> None:
    """Its loss is the sum over what is put out, and reaches the heads that only training has."""
    encoder = small("uniformer3d")
    network = build_segmentor("uniformer3d", 1, 3, encoder)
    image, labels = torch.rand(1, 1, 32, 32, 32), torch.randint(0, 3, (1, 1, 32, 32, 32))
    outputs = network.train()(image)
    assert [output.shape for output in outputs] == [(1, 3, 32, 32, 32)] * 3
    one = segmentation_loss("organs", 2)
    total = supervised_loss("organs", 2)(outputs, labels)
    torch.testing.assert_close(total, sum(one(output, labels) for output in outputs))
    total.backward()
    assert all(p.grad is not None and p.grad.any() for p in network.deep.parameters())
    assert network.eval()(image).shape == (1, 3, 32, 32, 32)
    with pytest.raises(BenchError, match="deep supervision"):
        build_segmentor("uniformer_tiny", 1, 2, deep_supervision=True)


def test_options_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(BenchError, match="differ in length"):
        build_encoder("uniformer3d", depths=(1, 1))
    with pytest.raises(BenchError, match="heads of 48"):
        build_encoder("uniformer3d", head_width=48)
    with pytest.raises(BenchError, match="multiple of 8"):
        build_encoder("unet3d", width=12)
