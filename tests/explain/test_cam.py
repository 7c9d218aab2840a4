import gc
import weakref

import pytest
import torch
from monai.visualize import GradCAM, GradCAMpp
from torch import nn

from monai_brain.explain.cam import GradCAMExplainer
from monai_brain.networks.cnn import CNN
from monai_brain.networks.mobilenet import MobileNetV2


class CornerSeeker(nn.Module):
    """Its evidence is known: class 0 is brightness at the top left, class 1 at the bottom right."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        nn.init.constant_(self.features.weight, 1 / 3)

    def forward(self, image):
        maps = self.features(image)
        half = image.shape[-1] // 2
        return torch.stack([maps[:, 0, :half, :half].sum((1, 2)), maps[:, 1, half:, half:].sum((1, 2))], dim=1)


def corner_image():
    image = torch.zeros(1, 3, 16, 16)
    image[..., 2:6, 2:6] = 1
    return image


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CNN(4, image_size=32).eval()


def test_polarity_evidence_is_hot():
    with GradCAMExplainer(CornerSeeker(), "features") as explain:
        heat = explain(corner_image(), torch.tensor([0]))[0, 0]
    assert heat[2:6, 2:6].min() == 1
    assert heat[8:, 8:].max() == 0


def test_batch_equals_single_images(network):
    images, classes = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    with GradCAMExplainer(network, "features.10") as explain:
        together = explain(images, classes)
        single = torch.cat([explain(images[i : i + 1], classes[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, single, atol=1e-5, rtol=0)
    assert together.shape == (8, 1, 32, 32)


def test_class_decides_the_map(network):
    image = torch.randn(1, 3, 32, 32)
    with GradCAMExplainer(network, "features.10") as explain:
        assert not torch.equal(explain(image, torch.tensor([0])), explain(image, torch.tensor([1])))


def test_frozen_network_is_explained_the_same_under_no_grad(network):
    image, classes = torch.randn(2, 3, 32, 32), torch.tensor([0, 3])
    with GradCAMExplainer(network, "features.10") as explain:
        free = explain(image, classes)
        network.requires_grad_(False)
        with torch.no_grad():
            torch.testing.assert_close(explain(image, classes), free)


def test_gradients_go_back_to_the_layer_only_and_through_no_weights(network):
    went_back = []
    for index in (0, 10):
        network.features[index].register_full_backward_hook(lambda *_, index=index: went_back.append(index))
    network.features[0].requires_grad_(False)
    before = [parameter.requires_grad for parameter in network.parameters()]
    with GradCAMExplainer(network, "features.10") as explain:
        explain(torch.randn(1, 3, 32, 32), torch.tensor([0]))
    assert went_back == [10]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [parameter.requires_grad for parameter in network.parameters()] == before


def test_no_hook_is_left(network):
    with GradCAMExplainer(network, "features.10") as explain:
        explain(torch.randn(1, 3, 32, 32), torch.tensor([0]))
        assert network.features[10]._forward_hooks
    assert not any(m._forward_pre_hooks or m._forward_hooks or m._backward_hooks for m in network.modules())


def test_missing_layer_is_named(network):
    with pytest.raises(ValueError, match=r"no layer 'features\.99'"):
        GradCAMExplainer(network, "features.99")


def test_image_without_evidence_has_an_empty_map():
    with GradCAMExplainer(CornerSeeker(), "features") as explain:
        assert explain(torch.zeros(1, 3, 16, 16), torch.tensor([0])).abs().max() == 0


@pytest.mark.parametrize("variant", [GradCAM, GradCAMpp])
def test_nothing_of_an_explained_batch_stays_in_memory(variant):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    kept = []
    network[0].register_forward_hook(lambda module, inputs, output: kept.append(weakref.ref(output)))
    for _ in range(3):
        with GradCAMExplainer(network, "0", variant) as explainer:
            explainer(torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))
    del explainer
    gc.collect()
    assert [own() for own in kept] == [None] * 3


def test_mirrored_network_is_explained_by_the_slice_itself():
    torch.manual_seed(0)
    network = MobileNetV2(4).eval()
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([0, 3])
    with GradCAMExplainer(network, "features.18") as explain:
        plain = explain(images, classes)
        network.mirrored = True
        torch.testing.assert_close(explain(images, classes), plain)
    assert network.mirrored
