import pytest
import torch

from monai_brain.io.weights import start_from, write_weights
from monai_brain.networks.unet_vgg16 import UNetVGG16
from monai_brain.networks.vgg import VGG


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return UNetVGG16().eval()


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 16), (1, 48)])
def test_every_pixel_gets_a_logit_at_any_size(network, size):
    with torch.no_grad():
        logits = network(torch.randn(2, 3, *size))
    assert logits.shape == (2, 1, *size)
    assert logits.isfinite().all()


def test_padding_at_the_border_changes_nothing_far_from_it(network):
    image = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        whole, cut = network(image), network(image[..., :155, :])
    assert cut.shape == (1, 1, 155, 160)
    assert not torch.allclose(whole[..., 150:155, :], cut[..., 150:155, :], atol=1e-3)


def test_size_is_that_of_the_lean_decoder():
    with torch.device("meta"):
        assert sum(p.numel() for p in UNetVGG16().parameters()) == pytest.approx(18.6e6, rel=0.01)
        assert sum(p.numel() for p in UNetVGG16(widths=(512, 256, 128, 64)).parameters()) > 24e6


def test_encoder_takes_public_vgg16_weights(tmp_path):
    source = VGG(16, 1000, "pooled")
    write_weights(source, tmp_path / "vgg16.safetensors")
    network = start_from(UNetVGG16(), str(tmp_path / "vgg16.safetensors"))
    for name, tensor in network.features.state_dict().items():
        assert torch.equal(tensor, source.features.state_dict()[name])


def test_full_resolution_reaches_the_output(network):
    """With everything behind the first pooling silenced, the output still depends on the image."""
    hook = network.features[network.pools[0]].register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    with torch.no_grad():
        one, other = (network(torch.randn(1, 3, 32, 32)) for _ in range(2))
    hook.remove()
    assert not torch.equal(one, other)


def test_wrong_number_of_widths_is_refused():
    with pytest.raises(ValueError, match="3 widths; the decoder has 4 blocks"):
        UNetVGG16(widths=(1, 2, 3))


def test_half_precision_and_memory_format_hold_from_end_to_end_and_back():
    """One operation that leaves them makes the widest features, and their gradients, be copied twice."""
    network = UNetVGG16(widths=(8, 8, 8, 8)).to(memory_format=torch.channels_last)
    seen = []
    for block in network.decoder:
        block.convs.register_forward_hook(lambda _, given, output: seen.extend([given[0], output]))
        block.upsample.register_full_backward_hook(lambda _, __, gradients: seen.append(gradients[0]))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last))
    logits.square().mean().backward()
    assert len(seen) == 3 * len(network.decoder)
    assert {tensor.dtype for tensor in seen} == {torch.bfloat16}
    assert {tensor.stride(1) for tensor in seen} == {1}
