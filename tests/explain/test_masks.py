"""A segmenter's mask is explained: right polarity, batches equal to single images, frozen networks, nothing left."""

import pytest
import torch
from torch import nn

from monai_brain.explain.cam import MaskMismatch
from monai_brain.explain.methods import UnknownMethod, make_explainer, mask_methods
from monai_brain.networks.unet_vgg16 import UNetVGG16
from tests.explain.test_cam import CornerSeeker


class BesideBright(nn.Module):
    """Tumor is what lies eight pixels right of brightness and not of darkness: its evidence is beside its mask."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 2, 1)
        nn.init.zeros_(self.features.bias)
        for channel, sign in enumerate((1, -1)):
            nn.init.constant_(self.features.weight[channel], sign / 3)

    def forward(self, image):
        bright, dark = torch.relu(self.features(image)).unbind(1)
        return (bright - dark).roll(8, dims=-1)[:, None] - 0.5


def two_spots():
    """One image with a bright and a dark spot, and one with them exchanged."""
    image = torch.zeros(2, 3, 32, 32)
    image[0, :, 4:8, 4:8] = image[1, :, 20:24, 4:8] = 1
    image[0, :, 20:24, 4:8] = image[1, :, 4:8, 4:8] = -1
    return image


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = UNetVGG16().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # PyTorch's defaults lose the scale over sixteen layers
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


@pytest.fixture(scope="module")
def images():
    return torch.randn(8, 3, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", mask_methods())
def test_evidence_is_hot_where_it_is_and_not_where_the_mask_is(method):
    network, images = BesideBright(), two_spots()
    with make_explainer(method, network, "features", segmenter=True) as explain:
        heat = explain(images, network(images) > 0)
    for own, hot, cold in ((heat[0, 0], 4, 20), (heat[1, 0], 20, 4)):
        assert own[hot : hot + 4, 4:8].min() == 1
        assert own[cold : cold + 4, 4:8].max() == 0
        assert own[:, 12:16].max() == 0, "the mask itself"


@pytest.mark.parametrize("method", mask_methods())
def test_eight_at_once_equal_eight_single_ones(network, images, method):
    with make_explainer(method, network, "features.29", segmenter=True) as explain:
        masks = network(images) > 0
        together = explain(images, masks)
        single = torch.cat([explain(images[i : i + 1], masks[i : i + 1]) for i in range(8)])
    assert together.shape == (8, 1, 48, 48)
    assert (together.flatten(1).amax(dim=1) == 1).all()
    torch.testing.assert_close(together, single, atol=1e-5, rtol=0)


def test_mask_decides_the_map(network, images):
    masks = torch.zeros(2, 1, 48, 48, dtype=torch.bool)
    masks[0, :, :20, :20] = masks[1, :, 30:, 30:] = True
    with make_explainer("gradcam", network, "features.29", segmenter=True) as explain:
        one, other = explain(images[:1].expand(2, -1, -1, -1), masks)
    assert (one - other).abs().max() > 0.1


@pytest.mark.parametrize("method", mask_methods())
def test_empty_mask_has_an_empty_map_beside_one_that_has_none(network, images, method):
    masks = network(images[:2]) > 0
    masks[0] = False
    with make_explainer(method, network, "features.29", segmenter=True) as explain:
        heat = explain(images[:2], masks)
    assert heat[0].abs().max() == 0
    assert heat[1].max() == 1


@pytest.mark.parametrize("method", mask_methods())
def test_frozen_network_is_explained_the_same_under_no_grad_and_left_as_it_was(network, images, method):
    masks = network(images[:2]) > 0
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with make_explainer(method, network, "features.29", segmenter=True) as explain:
        free = explain(images[:2], masks)
        network.requires_grad_(False).train()
        with torch.no_grad():
            frozen = explain(images[:2], masks)
    assert network.training
    network.requires_grad_(True).eval()
    torch.testing.assert_close(frozen, free)
    assert not any(m._forward_pre_hooks or m._forward_hooks or m._backward_hooks for m in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_mask_of_another_shape_is_refused_as_it_would_mix_samples():
    network, images = BesideBright(), two_spots()
    with (
        make_explainer("gradcam", network, "features", segmenter=True) as explain,
        pytest.raises(MaskMismatch, match=r"\(2, 32, 32\) for logits of shape \(2, 1, 32, 32\)"),
    ):
        explain(images, network(images)[:, 0] > 0)


@pytest.mark.parametrize("method", ["occlusion", "attention"])
def test_methods_for_classes_say_what_to_try(method):
    with pytest.raises(UnknownMethod, match="try gradcam"):
        make_explainer(method, CornerSeeker(), "features", segmenter=True)
