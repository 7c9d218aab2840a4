import pytest
import torch
from torch import nn

from monai_brain.networks.cnn import CNN
from monai_brain.networks.equalization import equalized
from monai_brain.networks.unet_vgg16 import UNetVGG16


def uneven_unet(images):
    """Its decoder's batch norm has seen features that are far from even."""
    torch.manual_seed(2)
    unet = UNetVGG16(widths=(16, 12, 8, 8))
    convolutions = [module for module in unet.features if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        for number, module in enumerate(convolutions):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.normal_(module.bias, std=0.1)
            module.weight.mul_((60.0, 2.0, 3.0, 0.1)[number % 4])
        unet.train()(images)
    return unet.eval()


def test_answers_stay_and_every_layer_has_features_of_one_size():
    torch.manual_seed(1)
    images = torch.randn(4, 3, 48, 64)
    unet = uneven_unet(images)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    even = equalized(unet, images)
    depths = [index + 2 for index, module in enumerate(unet.features) if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        torch.testing.assert_close(even(images), unet(images), rtol=1e-3, atol=1e-3)
        found = [[float(net.features[:d](images).square().mean().sqrt()) for d in depths] for net in (unet, even)]
    assert max(found[0]) > 100 * min(found[0])
    assert found[1] == pytest.approx([1.0] * len(depths), rel=1e-3)
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items()), "the input was changed"


def test_layer_without_any_feature_divides_nothing_by_zero():
    images = torch.randn(2, 3, 32, 32)
    unet = uneven_unet(images)
    with torch.no_grad():
        unet.features[28].bias.fill_(-1e6)
        even = equalized(unet, images)
        assert all(value.isfinite().all() for value in even.state_dict().values())
        torch.testing.assert_close(even(images), unet(images), rtol=1e-3, atol=1e-3)


def test_other_networks_are_themselves():
    network = CNN(num_classes=4, image_size=64)
    assert equalized(network, torch.randn(1, 3, 64, 64)) is network
