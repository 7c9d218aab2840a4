import pytest

from monai_brain.networks.cost import build_without_weights, multiply_adds


def test_multiply_adds_are_the_published_ones():
    vgg = {"_target_": "monai_brain.networks.vgg.VGG", "depth": 16, "num_classes": 1000}
    mobilenet = {"_target_": "monai_brain.networks.mobilenet.MobileNetV2", "num_classes": 1000}
    assert multiply_adds(build_without_weights(vgg), 224) == pytest.approx(15.47, abs=0.02)
    assert multiply_adds(build_without_weights(mobilenet), 224) == pytest.approx(0.30, abs=0.005)


def test_network_takes_no_memory():
    network = build_without_weights({"_target_": "monai_brain.networks.vgg.VGG", "depth": 16, "num_classes": 4})
    assert all(parameter.is_meta for parameter in network.parameters())
