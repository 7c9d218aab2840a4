import pytest
import torch
from monai.transforms import Compose
from torch import nn

from monai_brain.networks.cnn import CNN
from monai_brain.networks.vgg import VGG
from monai_brain.training.feature_scale import LARGEST_RMS, NoScale, tame_features
from monai_brain.training.reproducibility import CachedSlices


def slices(count=6):
    torch.manual_seed(0)
    images = torch.randn(count, 3, 64, 64)
    items = [{"image": number, "label": 0} for number in range(count)]
    return images, CachedSlices(items, Compose([lambda item: {**item, "image": images[item["image"]]}]), 0)


def network(factor):
    torch.manual_seed(1)
    vgg = VGG(11, 4, "small").eval()
    for module in vgg.features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        vgg.features[0].weight.mul_(factor)
    return vgg


def rms(features):
    return float(features.square().mean().sqrt())


def test_every_feature_is_divided_by_one_factor():
    images, data = slices()
    vgg = network(300.0)
    with torch.no_grad():
        before = [vgg.features[:depth](images) for depth in (1, 4, 13, 21)]
        later = [module.weight.clone() for module in vgg.features[1:] if isinstance(module, nn.Conv2d)]
        found = tame_features(vgg, data)
        after = [vgg.features[:depth](images) for depth in (1, 4, 13, 21)]
    assert found == pytest.approx(rms(before[-1]), rel=1e-5)
    assert found > LARGEST_RMS
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one / found, rtol=1e-4, atol=1e-5)
    assert rms(after[-1]) == pytest.approx(1.0, rel=1e-4)
    now = [module.weight for module in vgg.features[1:] if isinstance(module, nn.Conv2d)]
    assert all(torch.equal(one, other) for one, other in zip(later, now, strict=True))


def test_features_of_a_usual_scale_stay_as_they_are():
    vgg = network(1.0)
    before = {name: parameter.clone() for name, parameter in vgg.named_parameters()}
    assert tame_features(vgg, slices()[1]) < LARGEST_RMS
    assert all(torch.equal(before[name], parameter) for name, parameter in vgg.named_parameters())


def test_other_networks_are_refused():
    for other in (CNN(num_classes=4, image_size=64), VGG(11, 4, batch_norm=True)):
        with pytest.raises(NoScale, match="set tame_features: false"):
            tame_features(other, slices()[1])
