"""All methods: right polarity, batches equal to single images, frozen networks, nothing left on the network."""

import pytest
import torch

from monai_brain.explain.methods import METHODS, UnknownMethod, make_explainer
from monai_brain.networks.cnn import CNN
from monai_brain.networks.refinement import RefinedVGG
from tests.explain.test_cam import CornerSeeker

BY_CLASS = ("gradcam", "gradcam++", "occlusion")


def bright(*corners):
    image = torch.zeros(1, 3, 32, 32)
    for row, column in corners:
        image[..., row : row + 8, column : column + 8] = 1
    return image


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CNN(4, image_size=32).eval()


@pytest.mark.parametrize("method", BY_CLASS)
@pytest.mark.parametrize(("label", "at"), [(0, 3), (1, 20)])
def test_evidence_is_hot_in_the_corner_where_it_is(method, label, at):
    with make_explainer(method, CornerSeeker().eval(), "features") as explain:
        heat = explain(0.02 * bright((at, at)), torch.tensor([label]))[0, 0]
    assert heat.max() == 1
    assert heat[at : at + 8, at : at + 8].mean() > 0.5
    other = 20 if at == 3 else 3
    assert heat[other : other + 8, other : other + 8].max() < 0.1


def test_occlusion_tells_the_class_s_own_evidence_from_that_of_another():
    with make_explainer("occlusion", CornerSeeker().eval()) as explain:
        heat = explain(0.02 * bright((3, 3), (20, 20)), torch.tensor([1]))[0, 0]
    assert heat[20:28, 20:28].mean() > 0.5
    assert heat[3:11, 3:11].max() < 0.1


@pytest.mark.parametrize("method", BY_CLASS)
def test_eight_at_once_equal_eight_single_ones(network, method):
    images, classes = torch.randn(8, 3, 32, 32), torch.arange(8) % 4
    if method == "gradcam++":  # which divides by what can be near 0, so that rounding shows
        network, images = network.double(), images.double()
    with make_explainer(method, network, "features.10") as explain:
        together = explain(images, classes)
        single = torch.cat([explain(images[i : i + 1], classes[i : i + 1]) for i in range(8)])
    assert together.shape == (8, 1, 32, 32)
    torch.testing.assert_close(together, single, atol=1e-5, rtol=0)
    assert together.min() >= 0 and together.max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_frozen_network_is_explained_and_left_as_it_was(method):
    torch.manual_seed(0)
    network = RefinedVGG(11, 4, "pooled").requires_grad_(False).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with make_explainer(method, network, "features.18") as explain, torch.no_grad():
        heat = explain(torch.randn(2, 3, 48, 48), torch.tensor([1, 3]))
    assert heat.shape == (2, 1, 48, 48)
    assert heat.isfinite().all()
    assert network.training
    assert not any(m._forward_pre_hooks or m._forward_hooks or m._backward_hooks for m in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_large_logits_do_not_overflow():
    with make_explainer("gradcam++", CornerSeeker(), "features") as explain:
        heat = explain(1000 * bright((3, 3)), torch.tensor([0]))
    assert heat.isfinite().all()
    assert heat.max() == 1


def test_methods_that_cannot_work_say_so(network):
    with pytest.raises(UnknownMethod, match="not one of gradcam"):
        make_explainer("lime", network)
    with pytest.raises(UnknownMethod, match="makes no attention map"):
        make_explainer("attention", network)
    with pytest.raises(UnknownMethod, match="try occlusion"):
        make_explainer("gradcam", network)
