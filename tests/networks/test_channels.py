"""Encoders pretrained on one channel, on images of several."""

import pytest
import torch

from medssl_bench.errors import BenchError
from medssl_bench.networks import build_classifier, build_encoder
from medssl_bench.networks.channels import load_pretrained


@pytest.mark.parametrize("name", ["swin_tiny", "swin_monai", "resenc_l"])
def test_equal_channels_have_the_features_of_one(name: str) -> None:
    if name == "resenc_l":
        pytest.importorskip("dynamic_network_architectures")
    torch.manual_seed(0)
    one = build_encoder(name).eval()
    torch.manual_seed(1)
    four = build_encoder(name, in_channels=4).eval()
    image = torch.rand(1, 1, 64, 64, 64)
    load_pretrained(four, one.state_dict(), "repeat")
    with torch.no_grad():
        expected, found = one(image), four(image.expand(-1, 4, -1, -1, -1).contiguous())
    assert list(found) == list(expected)
    for level, features in expected.items():
        torch.testing.assert_close(found[level], features, rtol=1e-5, atol=1e-5)


def test_fresh_leaves_the_first_convolution_as_it_was_built() -> None:
    torch.manual_seed(0)
    one, four = build_encoder("swin_tiny"), build_encoder("swin_tiny", in_channels=4)
    before = {name: value.clone() for name, value in four.state_dict().items()}
    load_pretrained(four, one.state_dict(), "fresh")
    for name, value in four.state_dict().items():
        first = name == "patch_embed.proj.weight"
        assert torch.equal(value, before[name] if first else one.state_dict()[name]), name


def test_one_channel_is_loaded_as_it_is() -> None:
    one, other = build_encoder("swin_tiny"), build_encoder("swin_tiny")
    load_pretrained(other, one.state_dict(), "fresh")
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_other_encoders_do_not_fit() -> None:
    four = build_encoder("swin_tiny", in_channels=4)
    with pytest.raises(BenchError, match="does not fit"):
        load_pretrained(four, build_encoder("swin_tiny", in_channels=2).state_dict())
    with pytest.raises(BenchError, match="do not fit"):
        load_pretrained(four, {"patch_embed.proj.weight": torch.zeros(16, 1, 2, 2, 2)})


def test_the_head_is_norm_mean_and_a_linear_layer() -> None:
    torch.manual_seed(0)
    network = build_classifier(build_encoder("swin_tiny", in_channels=2), 3).eval()
    image = torch.rand(2, 2, 32, 48, 32)
    with torch.no_grad():
        features = network.encoder(image)["merge3"]
        mean = features.mean(1, keepdim=True)
        spread = features.var(1, keepdim=True, correction=0)
        pooled = ((features - mean) / (spread + 1e-5).sqrt()).mean((2, 3, 4))
        expected = pooled @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(BenchError, match="multiple of 16"):
        network(torch.rand(1, 2, 24, 32, 32))
