import pytest
import torch
from torch import nn

from monai_brain.networks.mobilenet import MobileNetV2

BLOCKS = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]


def norm(prefix, width):
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (width,) for name in names} | {f"{prefix}.num_batches_tracked": ()}


def public_shapes():
    """torchvision's keys and shapes, written out independently from its documented layout."""
    shapes, before, index = {"features.0.0.weight": (32, 3, 3, 3)} | norm("features.0.1", 32), 32, 1
    for expansion, width, repetitions in BLOCKS:
        for _ in range(repetitions):
            hidden, place, step = before * expansion, f"features.{index}.conv", 0
            if expansion > 1:
                shapes |= {f"{place}.0.0.weight": (hidden, before, 1, 1)} | norm(f"{place}.0.1", hidden)
                step = 1
            shapes |= {f"{place}.{step}.0.weight": (hidden, 1, 3, 3)} | norm(f"{place}.{step}.1", hidden)
            shapes |= {f"{place}.{step + 1}.weight": (width, hidden, 1, 1)} | norm(f"{place}.{step + 2}", width)
            before, index = width, index + 1
    shapes |= {f"features.{index}.0.weight": (1280, 320, 1, 1)} | norm(f"features.{index}.1", 1280)
    return shapes | {"classifier.1.weight": (1000, 1280), "classifier.1.bias": (1000,)}


def test_keys_and_shapes_are_torchvisions():
    with torch.device("meta"):
        network = MobileNetV2(1000)
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == public_shapes()
    assert sum(p.numel() for p in network.parameters()) == 3_504_872  # as torchvision documents


def test_epsilon_of_batch_norm_is_an_option():
    network = MobileNetV2(4, batch_norm_eps=1e-3)
    assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize("size", [64, 65])
def test_same_padding_pads_right_and_bottom_of_even_sizes_and_all_sides_of_odd_ones(size):
    same, symmetric = MobileNetV2(4, padding="same").features[0][0], MobileNetV2(4).features[0][0]
    symmetric.load_state_dict(same.state_dict())
    image = torch.randn(1, 3, size, size)
    if size % 2:
        torch.testing.assert_close(same(image), symmetric(image))
    else:
        expected = nn.functional.conv2d(nn.functional.pad(image, (0, 1, 0, 1)), same.weight, stride=2)
        torch.testing.assert_close(same(image), expected)
    assert same(image).shape == symmetric(image).shape


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="symmetric, same"):
        MobileNetV2(4, padding="valid")


def test_forward_can_begin_after_any_stage():
    network, features = MobileNetV2(4).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole = network(features)
        for number, stage in enumerate(network.stages(), 1):
            features = stage(features)
            torch.testing.assert_close(network(features, first=number), whole)


def test_mirrored_network_says_the_same_of_a_mirror_image():
    network = MobileNetV2(4, dropout=0.0, mirrored=True)
    images = torch.randn(2, 3, 64, 64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network(images)  # batch norm with the statistics of images: otherwise all logits are close to 0
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images), network(images.flip(-1)))
        plain = (network._logits(images) + network._logits(images.flip(-1))) / 2
        torch.testing.assert_close(network(images), plain)
        assert not torch.allclose(network(images), network._logits(images), atol=0.01)
    network.train()
    assert not torch.allclose(network(images), network(images.flip(-1)), atol=0.01), "training sees the slice alone"
