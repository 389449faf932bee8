from __future__ import annotations

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.methods.parts.heads import MeanHead, ProjectionHead, TokenHeads, VoxelHead
from medssl_bench.networks.encoder import Level


def test_each_token_predicts_the_voxels_under_it():
    head = VoxelHead(Level("deep", 2, 4), 3, (8, 12, 4))
    feature = torch.rand(1, 2, 2, 3, 1)
    crop = head({"deep": feature})
    assert crop.shape == (1, 3, 8, 12, 4)
    changed = feature.clone()
    changed[0, :, 1, 2, 0] += 1.0
    moved = (head({"deep": changed}) != crop)[0]
    assert moved[:, 4:8, 8:12, :].all()
    moved[:, 4:8, 8:12, :] = False
    assert not moved.any()


def test_a_crop_of_broken_tokens_is_refused():
    with pytest.raises(BenchError, match=r"crop \(48, 32, 32\): .* multiple of 32 voxels"):
        VoxelHead(Level("deep", 2, 32), 1, (48, 32, 32))


def test_voxel_order_is_channel_then_r_a_s():
    head = VoxelHead(Level("deep", 1, 2), 2, (2, 2, 2))
    with torch.no_grad():
        head.project.weight.zero_()
        head.project.bias.copy_(torch.arange(16.0))
    crop = head({"deep": torch.zeros(1, 1, 1, 1, 1)})
    assert torch.equal(crop[0], torch.arange(16.0).view(2, 2, 2, 2))


def test_projection_head_equals_its_formula_in_float64():
    torch.manual_seed(0)
    head = ProjectionHead(6, 16, 5, 11)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    tokens = torch.randn(3, 4, 6)
    x = tokens.double()
    for layer in (0, 2, 4):
        weight, bias = (head.mlp[layer].weight.double(), head.mlp[layer].bias.double())
        x = torch.einsum("nti,oi->nto", x, weight) + bias
        if layer < 4:
            x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    last = head.last.weight.double()
    expected = torch.zeros(3, 4, 11, dtype=torch.float64)
    for row in range(11):
        cosine = (x * last[row]).sum(-1) / (x.norm(dim=-1) * last[row].norm())
        expected[..., row] = cosine
    torch.testing.assert_close(head(tokens).double(), expected, rtol=1e-5, atol=1e-5)


def test_length_of_last_rows_does_not_matter():
    torch.manual_seed(0)
    head = ProjectionHead(6, 8, 4, 7)
    tokens = torch.randn(5, 6)
    before = head(tokens)
    with torch.no_grad():
        head.last.weight.mul_(torch.rand(7, 1) + 0.5)
    torch.testing.assert_close(head(tokens), before)


def test_logits_stay_float32_under_bf16_autocast():
    head = ProjectionHead(6, 8, 4, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head.mlp(torch.randn(2, 6)).dtype == torch.bfloat16
        assert head(torch.randn(2, 6)).dtype == torch.float32


def test_initial_weights_are_truncated_normal():
    torch.manual_seed(0)
    head = ProjectionHead(64, 128, 32, 256)
    for layer in (head.mlp[0], head.mlp[2], head.mlp[4], head.last):
        assert abs(layer.weight.std().item() - 0.02) < 0.001
    assert all((head.mlp[layer].bias == 0).all() for layer in (0, 2, 4))


def test_chosen_tokens_equal_the_same_tokens_of_all():
    torch.manual_seed(0)
    heads = TokenHeads(6, 8, 4, 7)
    feature = torch.randn(2, 6, 2, 2, 2)
    chosen = torch.tensor([[0, 3, 7], [1, 2, 4]])
    everything, some = heads(feature), heads(feature, chosen)
    for sample in range(2):
        for place, token in enumerate(chosen[sample].tolist()):
            torch.testing.assert_close(
                some["patch"][sample, place], everything["patch"][sample, token]
            )
    assert torch.equal(some["global"], everything["global"])
    tokens = feature.flatten(2).transpose(1, 2)
    normed = (tokens - tokens.mean(-1, keepdim=True)) / (
        tokens.var(-1, keepdim=True, unbiased=False) + 1e-6
    ).sqrt()
    torch.testing.assert_close(some["global"], heads.whole(normed.mean(1)))


def test_a_shared_head_projects_patches_and_their_mean_alike():
    torch.manual_seed(0)
    feature = torch.randn(2, 6, 1, 1, 1)  # of one token, which is its own mean
    shared, separate = TokenHeads(6, 8, 4, 7, shared=True), TokenHeads(6, 8, 4, 7)
    logits = shared(feature)
    torch.testing.assert_close(logits["patch"][:, 0], logits["global"])
    logits = separate(feature)
    assert not torch.allclose(logits["patch"][:, 0], logits["global"], atol=1e-3)
    head = sum(p.numel() for p in separate.patch.parameters())
    count = [sum(p.numel() for p in heads.parameters()) for heads in (shared, separate)]
    assert count == [12 + head, 12 + 2 * head]


def test_mean_head_projects_the_mean_of_a_map():
    torch.manual_seed(0)
    head = MeanHead(6, 8, 4, 7)
    feature = torch.randn(2, 6, 3, 2, 1)
    mean = torch.stack([feature[..., x, y, 0] for x in range(3) for y in range(2)]).sum(0) / 6
    torch.testing.assert_close(head(feature), {"global": head.whole(mean)})
    assert head(feature).keys() == set(head.outputs)
