import pytest
import torch

from monai_brain.io.weights import InvalidWeights, start_from, write_weights
from monai_brain.networks.refinement import RefinedVGG
from monai_brain.networks.vgg import VGG


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = RefinedVGG(11, 4).eval()
    torch.nn.init.normal_(network.refinement.score.weight)  # as if it were trained
    return network


@pytest.mark.parametrize(("size", "map_size"), [((64, 64), (4, 4)), ((48, 80), (3, 5)), ((32, 32), (2, 2))])
def test_attention_map_is_returned_on_request(network, size, map_size):
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        logits, attention = network.with_attention(image)
        assert torch.equal(network(image), logits)
    assert attention.shape == (2, 1, *map_size)
    assert 0 <= attention.min() < attention.max() <= 1


def test_map_multiplies_the_features_by_one_plus_itself(network):
    seen = {}
    hook = network.features[-1].register_forward_hook(lambda _, inputs, __: seen.update(refined=inputs[0]))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, attention = network.with_attention(image)
        found = network.features[:-1](image)
    hook.remove()
    torch.testing.assert_close(seen["refined"], found * (1 + attention))


def test_class_labels_alone_train_the_map():
    network, images = RefinedVGG(11, 4), torch.randn(4, 3, 64, 64)
    _, attention = network.with_attention(images)
    assert (attention == 0.5).all()  # it begins as plain VGG
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0e-2)
    for _ in range(2):  # the first step reaches the last layer of the map, the second all others
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), torch.arange(4)).backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in network.refinement.parameters())
    assert network.with_attention(images)[1].std() > 0


@pytest.mark.parametrize("kind", [VGG, RefinedVGG])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_forward_can_begin_after_any_stage(kind, batch_norm):
    network = kind(11, 4, "pooled", batch_norm).eval()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole, features = network(image), image
        for number, stage in enumerate(network.stages(), 1):
            features = stage(features)
            torch.testing.assert_close(network(features, first=number), whole)


def test_public_vgg_weights_fit_and_leave_refinement_and_head_as_they_are(tmp_path):
    source, network = VGG(11, 1000, "pooled"), RefinedVGG(11, 4)
    write_weights(source, tmp_path / "vgg11.safetensors", dtype=torch.float16)
    before = network.refinement.score.weight.clone()
    start_from(network, str(tmp_path / "vgg11.safetensors"))
    assert torch.equal(network.features[0].weight, source.features[0].weight.half().float())
    assert torch.equal(network.refinement.score.weight, before)


def test_weights_of_another_depth_are_refused(tmp_path):
    write_weights(VGG(11, 4, "pooled"), tmp_path / "vgg11.safetensors", dtype=torch.float16)
    with pytest.raises(InvalidWeights, match="another network than RefinedVGG"):
        start_from(RefinedVGG(16, 4), str(tmp_path / "vgg11.safetensors"))


def test_features_of_any_scale_give_the_same_logits_size():
    """Public weights differ in the scale of their last features by hundreds; the pooled head must not."""
    torch.manual_seed(0)
    network = VGG(11, 4, "pooled").eval()
    features = torch.rand(2, 512, 7, 7)
    with torch.no_grad():
        small, large = (network(features * scale, first=len(network.features)) for scale in (1.0, 300.0))
    torch.testing.assert_close(small, large, atol=1e-2, rtol=1e-2)
