"""One contract for every network that a config names."""

import pytest
import torch
from monai.bundle import ConfigParser

from monai_brain.networks.autocast import AutocastInferer, fastest_precision
from monai_brain.networks.cnn import CNN
from monai_brain.networks.refinement import SpatialRefinement
from tests.conftest import BUNDLE

CONFIGS = [BUNDLE / "configs" / "train.yaml", *sorted((BUNDLE / "configs" / "networks").glob("*.yaml"))]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def configured(request):
    parser = ConfigParser()
    parser.read_config([str(CONFIGS[0]), str(request.param)])
    return parser


def test_batch_of_slices_gives_finite_logits_per_class(configured):
    network, size = configured.get_parsed_content("network_def").eval(), configured.get_parsed_content("image_size")
    logits = network(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 4)
    assert logits.isfinite().all()


def test_samples_of_a_batch_do_not_touch_each_other(configured):
    network, size = configured.get_parsed_content("network_def").eval(), configured.get_parsed_content("image_size")
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-5, rtol=1e-4)


def test_layer_for_explanations_exists(configured):
    network, layer = configured.get_parsed_content("network_def"), configured.get_parsed_content("cam_layer")
    has_convolution = any(isinstance(module, torch.nn.Conv2d) for module in network.modules())
    assert layer in dict(network.named_modules()) if has_convolution else layer is None


def test_every_weight_gets_a_gradient(configured):
    network, size = configured.get_parsed_content("network_def").train(), configured.get_parsed_content("image_size")
    for module in network.modules():  # a map that begins flat passes nothing on in the first step
        if isinstance(module, SpatialRefinement):
            torch.nn.init.normal_(module.score.weight)
    torch.nn.functional.cross_entropy(network(torch.randn(4, 3, size, size)), torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_image_size_that_does_not_halve_is_refused():
    with pytest.raises(ValueError, match="100 is not divisible by 8"):
        CNN(4, image_size=100)


def test_bf16_comes_out_as_float32_and_close():
    torch.manual_seed(0)
    network, image = CNN(4, image_size=32).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        exact, quick = AutocastInferer("fp32")(image, network), AutocastInferer("bf16")(image, network)
    assert quick.dtype == torch.float32
    assert not torch.equal(exact, quick)
    torch.testing.assert_close(exact, quick, atol=0.03, rtol=0.05)


def test_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="fp32, bf16"):
        AutocastInferer("fp8")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_bf16_is_the_default_only_where_the_cpu_computes_in_it(monkeypatch, native, expected):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    assert fastest_precision("cpu") == fastest_precision(torch.device("cpu")) == expected
