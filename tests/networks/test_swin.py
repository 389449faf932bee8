"""Masking, norms, drop-path and Swin V2 against independent computations."""

import math

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.networks import build_encoder, build_segmentor
from medssl_bench.networks.attention import CosineAttention
from medssl_bench.networks.convolutions import Conv3, InstanceNorm, UpBlock
from medssl_bench.networks.segmentor import spread
from medssl_bench.networks.swin_block import PatchMerging
from medssl_bench.networks.windows import cut, partition, reverse


def test_hidden_voxels_do_not_reach_any_feature() -> None:
    encoder = build_encoder("swin_tiny").eval()
    mask = torch.zeros(1, 3, 3, 3, dtype=torch.bool)
    mask[0, 0, 1, 2] = True
    token = torch.randn(encoder.mask_channels)
    image = torch.rand(1, 1, 48, 48, 48)
    changed = image.clone()
    changed[..., :16, 16:32, 32:] = 7.0
    for one, two in zip(
        encoder(image, mask, token).values(), encoder(changed, mask, token).values(), strict=True
    ):
        assert torch.equal(one, two)
    assert not torch.equal(encoder(image)["merge3"], encoder(changed)["merge3"])


def test_a_coarse_mask_equals_the_same_mask_on_the_token_grid() -> None:
    encoder = build_encoder("swin_tiny").eval()
    image, token = torch.rand(2, 1, 32, 32, 32), torch.randn(encoder.mask_channels)
    coarse = torch.rand(2, 2, 2, 2) > 0.5
    fine = coarse
    for axis in (1, 2, 3):
        fine = fine.repeat_interleave(8, axis)
    assert fine.shape == (2, 16, 16, 16)
    assert torch.equal(
        encoder(image, coarse, token)["merge3"], encoder(image, fine, token)["merge3"]
    )


def test_an_empty_mask_changes_nothing_and_the_mask_token_learns() -> None:
    encoder = build_encoder("swin_tiny").eval()
    image = torch.rand(1, 1, 16, 16, 16)
    token = torch.zeros(encoder.mask_channels, requires_grad=True)
    none = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    assert torch.equal(encoder(image, none, token)["merge3"], encoder(image)["merge3"])
    some = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    some[0, 0, 1, 0] = True
    encoder(image, some, token)["merge3"].square().sum().backward()
    assert token.grad is not None
    assert token.grad.abs().sum() > 0


def test_masks_that_do_not_fit_are_refused() -> None:
    encoder = build_encoder("swin_tiny")
    image = torch.rand(1, 1, 16, 16, 16)
    with pytest.raises(BenchError, match="divide"):
        encoder(image, torch.ones(1, 3, 3, 3, dtype=torch.bool), torch.zeros(16))
    with pytest.raises(BenchError, match="mask token"):
        encoder(image, torch.ones(1, 1, 1, 1, dtype=torch.bool))


def test_crops_that_are_no_multiple_of_the_stride_are_refused() -> None:
    network = build_segmentor("swin_tiny", 1, 2)
    with pytest.raises(BenchError, match="multiple of 16"):
        network(torch.rand(1, 1, 40, 48, 48))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("subpixel", [False, True])
def test_logits_have_the_shape_of_the_image(norm: str, subpixel: bool) -> None:
    network = build_segmentor("swin_tiny", 2, 3, norm=norm, subpixel=subpixel)
    logits = network(torch.rand(2, 2, 32, 16, 16))
    assert logits.shape == (2, 3, 32, 16, 16)
    logits.square().mean().backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    assert unused == []


def test_spread_puts_each_place_where_it_belongs() -> None:
    rows = torch.arange(16.0).view(1, 16, 1, 1, 1)
    volume = spread(rows)
    assert volume.shape == (1, 2, 2, 2, 2)
    # place (d, h, w) = (1, 0, 1) is number 5, its second class channel 11
    assert volume[0, 1, 1, 0, 1] == 11


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last_3d])
def test_instance_norm_and_its_gradient(batch: int, memory: torch.memory_format) -> None:
    volume = torch.randn(batch, 4, 6, 5, 4).to(memory_format=memory).requires_grad_()
    grad = torch.randn(batch, 4, 6, 5, 4).to(memory_format=memory)
    mean = volume.mean((2, 3, 4), keepdim=True)
    spread_ = volume.var((2, 3, 4), keepdim=True, unbiased=False)
    expected = (volume - mean) / (spread_ + 1e-5).sqrt()
    got = InstanceNorm()(volume)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(got, volume, grad)[0],
        torch.autograd.grad(expected, volume, grad)[0],
        atol=1e-5,
        rtol=1e-4,
    )
    assert InstanceNorm()(volume.bfloat16()).dtype == torch.bfloat16


def test_up_block_equals_transposed_convolution_and_concatenation() -> None:
    block = UpBlock(6, 4, "instance")
    volume, skip = torch.randn(2, 6, 3, 2, 4), torch.randn(2, 4, 6, 4, 8)
    expected = block.conv_block(torch.cat((block.transp_conv(volume), skip), 1))
    torch.testing.assert_close(block(volume, skip), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", [(12, 10, 9), (11, 10, 10), (3, 3, 3)])
@pytest.mark.parametrize("channels", [1, 5])
def test_convolution_in_two_halves_equals_the_whole(
    grid: tuple[int, int, int], channels: int
) -> None:
    convolution = Conv3(channels, 4)
    volume = torch.randn(1, channels, *grid, requires_grad=True)
    expected = torch.nn.functional.conv3d(volume, convolution.weight, padding=1)
    got = convolution(volume)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    grad = torch.randn_like(expected)
    wanted = (volume, convolution.weight)
    torch.testing.assert_close(
        torch.autograd.grad(got, wanted, grad),
        torch.autograd.grad(expected, wanted, grad),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("grid", [(8, 8, 8), (6, 4, 9), (3, 3, 3), (12, 3, 5)])
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_partition_and_reverse(grid: tuple[int, int, int], shifted: bool) -> None:
    tokens = torch.randn(2, *grid, 5, requires_grad=True)
    cutting = cut(grid, 4, shifted)
    windows = partition(tokens, cutting)
    assert windows.shape[1] == cutting.size
    back = reverse(windows, cutting)
    assert torch.equal(back, tokens)
    grad = torch.randn_like(back)
    assert torch.equal(torch.autograd.grad(back, tokens, grad)[0], grad)


def test_weights_follow_seeds_and_are_truncated_normals() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build_encoder("swin_tiny").state_dict())
    name = "layers2.0.blocks.0.attn.qkv.weight"
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])
    assert states[0][name].std() == pytest.approx(0.02, rel=0.1)
    assert states[0]["layers2.0.blocks.0.mlp.linear1.bias"].abs().sum() == 0


def test_drop_path_rises_to_its_rate_and_sleeps_in_evaluation() -> None:
    encoder = build_encoder("swin_tiny", drop_path=0.5)
    rates = [block.drop_path.drop_prob for block in encoder.blocks().values()]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.5)
    assert rates == sorted(rates)
    image = torch.rand(1, 1, 16, 16, 16)
    encoder.eval()
    assert torch.equal(encoder(image)["merge3"], encoder(image)["merge3"])


def test_cosine_attention_equals_its_equations() -> None:
    torch.manual_seed(3)
    attention = CosineAttention(8, heads=2, window=2, qkv_bias=True)
    for parameter in (attention.q_bias, attention.v_bias):
        torch.nn.init.normal_(parameter)
    torch.nn.init.constant_(attention.logit_scale, 9.0)  # above log 100: clamped
    tokens = torch.randn(1, 8, 8)
    got = attention(tokens, cut((2, 2, 2), 2, False))

    qkv = attention.qkv.weight @ tokens[0].T
    q = (qkv[:8].T + attention.q_bias).view(8, 2, 4)
    k = qkv[8:16].T.reshape(8, 2, 4)
    v = (qkv[16:].T + attention.v_bias).view(8, 2, 4)
    places = [(d, h, w) for d in range(2) for h in range(2) for w in range(2)]
    rows = torch.zeros(8, 2, 4)
    for head in range(2):
        logits = torch.zeros(8, 8)
        for i, a in enumerate(places):
            for j, b in enumerate(places):
                # log2(1 + 8 |x|) / log2(8), x = offset / (window - 1)
                offset = torch.tensor(
                    [
                        math.copysign(math.log2(1 + 8 * abs(s - t)) / 3, s - t)
                        for s, t in zip(a, b, strict=True)
                    ]
                )
                cosine = torch.cosine_similarity(q[i, head], k[j, head], dim=0)
                bias = 16 * torch.sigmoid(attention.cpb_mlp(offset)[head])
                logits[i, j] = 100 * cosine + bias
        rows[:, head] = logits.softmax(-1) @ v[:, head]
    expected = attention.proj(rows.reshape(8, 8))
    torch.testing.assert_close(got[0], expected, atol=1e-4, rtol=1e-4)


def test_swin_v2_blocks_start_as_the_identity_and_train() -> None:
    encoder = build_encoder(
        "swin_586m", depths=(2, 2, 2, 2), heads=(1, 2, 2, 2), width=12, drop_path=0.0
    )
    image = torch.rand(1, 1, 32, 32, 32)
    features = encoder(image)
    embedded = encoder.patch_embed(image).permute(0, 4, 1, 2, 3)
    assert torch.equal(features["stage1"], embedded)
    features["merge4"].square().mean().backward()
    assert encoder.stages()[0].blocks[0].norm1.weight.grad is not None


def test_merging_orders_visit_neighbours_as_named() -> None:
    tokens = torch.arange(8.0).view(1, 2, 2, 2, 1)  # value = 4 d + 2 h + w
    for order, expected in {
        "monai": [0, 4, 2, 1, 6, 5, 3, 7],
        "monai_legacy": [0, 4, 2, 1, 5, 2, 1, 7],
        "monai_v2": [0, 1, 2, 3, 4, 5, 6, 7],
    }.items():
        merging = PatchMerging(1, "v1", order)
        seen: list[torch.Tensor] = []
        merging.norm.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        merging(tokens)
        assert seen[0].flatten().tolist() == expected


def test_autocast_keeps_the_encoder_in_bfloat16_and_close_to_float32() -> None:
    network = build_segmentor("swin_tiny", 1, 3).eval()
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        features = network.encoder(image)
        logits = network(image)
    assert all(feature.dtype == torch.bfloat16 for feature in features.values())
    assert (logits.float() - network(image)).abs().max() < 0.1
