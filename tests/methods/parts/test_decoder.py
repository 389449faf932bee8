from __future__ import annotations

import pytest
import torch
from torch import nn

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.decoder import Decoder, voxel_error
from medssl_bench.networks.encoder import Level


@pytest.mark.parametrize(
    ("channels", "stride", "widths"),
    [
        (768, 32, [768, 384, 192, 96, 48, 48]),  # swin_65m, and SwinUNETR's pretraining code
        (128, 16, [128, 64, 32, 16, 8]),  # swin_tiny
        (8, 32, [8, 4, 2, 1, 1, 1]),
    ],
)
def test_widths_are_halved_down_to_a_sixteenth(channels, stride, widths):
    decoder = Decoder("x", Level("deep", channels, stride), 1, (2 * stride,) * 3)
    found = [decoder.convs[0].in_channels, *(conv.out_channels for conv in decoder.convs)]
    assert found == widths
    assert decoder.project.weight.shape == (1, widths[-1], 1, 1, 1)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_equals_the_published_layers_of_torch(batch, dtype):
    torch.manual_seed(0)
    mine = Decoder("x", Level("deep", 32, 8), 2, (16, 24, 8)).to(dtype)
    widths = [32, 16, 8, 4]
    layers: list[nn.Module] = []
    for wide, narrow in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv3d(wide, narrow, 3, padding=1), nn.InstanceNorm3d(narrow)]
        layers += [nn.LeakyReLU(), nn.Upsample(scale_factor=2, mode="trilinear")]
    theirs = nn.Sequential(*layers, nn.Conv3d(4, 2, 1)).double()
    with torch.no_grad():
        for place, conv in enumerate(mine.convs):
            theirs[4 * place].weight.copy_(conv.weight)
        theirs[-1].weight.copy_(mine.project.weight)
        theirs[-1].bias.copy_(mine.project.bias)

    feature = torch.randn(batch, 32, 2, 3, 1, dtype=dtype)
    towards = torch.randn(batch, 2, 16, 24, 8, dtype=torch.float64)
    given, copied = feature.clone().requires_grad_(), feature.double().requires_grad_()
    rebuilt, expected = mine({"deep": given}), theirs(copied)
    assert rebuilt.dtype == torch.float32
    torch.testing.assert_close(rebuilt.double(), expected, rtol=1e-5, atol=1e-5)

    (rebuilt.double() * towards).mean().backward()
    (expected * towards).mean().backward()
    pairs = [(given, copied), (mine.project.weight, theirs[-1].weight)]
    pairs += [(mine.project.bias, theirs[-1].bias)]
    pairs += [(conv.weight, theirs[4 * place].weight) for place, conv in enumerate(mine.convs)]
    for one, other in pairs:
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-5, atol=1e-5)
    assert all(theirs[4 * place].bias.grad.abs().max() < 1e-12 for place in range(3))


def test_it_stays_in_bf16_until_the_last_doubling():
    decoder = Decoder("x", Level("deep", 32, 4), 1, (8, 8, 8))
    seen = []
    for layer in (*decoder.convs, decoder.project):
        layer.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        crop = decoder({"deep": torch.randn(1, 32, 2, 2, 2)})
    assert seen[1:] == [torch.bfloat16] * 2
    assert crop.dtype == torch.float32


@pytest.mark.parametrize(
    ("stride", "crop", "words"),
    [
        (32, (64, 48, 64), r"inpainting: crop \(64, 48, 64\): every side must be a multiple of 32"),
        (32, (32, 32, 32), r"inpainting: crop \(32, 32, 32\) is a single token"),
        (12, (24, 24, 24), "inpainting: .* coarsest stride is 12"),
        (1, (24, 24, 24), "inpainting: .* coarsest stride is 1"),
    ],
)
def test_what_does_not_fit_is_refused(stride, crop, words):
    with pytest.raises(BenchError, match=words):
        Decoder("inpainting", Level("deep", 8, stride), 1, crop)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_voxel_error_is_the_mean_over_all_voxels_and_channels(kind):
    prediction, image = torch.rand(2, 2, 3, 2, 4, 3, dtype=torch.float64).unbind(0)
    total = 0.0
    for one, other in zip(prediction.flatten().tolist(), image.flatten().tolist(), strict=True):
        total += abs(one - other) if kind == "l1" else (one - other) ** 2
    assert voxel_error(kind, prediction, image).item() == pytest.approx(total / 144, rel=1e-5)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_voxel_error_of_a_bf16_prediction_is_taken_in_float32(kind):
    prediction, image = torch.rand(2, 1, 1, 4, 4, 4).unbind(0)
    prediction = prediction.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        error = voxel_error(kind, prediction, image)
    assert error.dtype == torch.float32
    assert torch.equal(error, voxel_error(kind, prediction.float(), image))
