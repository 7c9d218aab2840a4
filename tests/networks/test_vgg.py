import pytest
import torch

from monai_brain.networks.vgg import HEADS, VGG


def public_shapes(depth, batch_norm):
    """torchvision's keys and shapes, written out independently from its documented layout."""
    blocks = {11: [1, 1, 2, 2, 2], 16: [2, 2, 3, 3, 3]}[depth]
    shapes, index, before = {}, 0, 3
    for block, convolutions in enumerate(blocks):
        width = min(64 * 2**block, 512)
        for _ in range(convolutions):
            shapes |= {f"features.{index}.weight": (width, before, 3, 3), f"features.{index}.bias": (width,)}
            if batch_norm:
                names = ("weight", "bias", "running_mean", "running_var")
                shapes |= {f"features.{index + 1}.{name}": (width,) for name in names}
                shapes |= {f"features.{index + 1}.num_batches_tracked": ()}
            index, before = index + (3 if batch_norm else 2), width
        index += 1
    for key, shape in {"0": (4096, 25088), "3": (4096, 4096), "6": (1000, 4096)}.items():
        shapes |= {f"classifier.{key}.weight": shape, f"classifier.{key}.bias": shape[:1]}
    return shapes


@pytest.mark.parametrize("depth", [11, 16])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_keys_and_shapes_are_torchvisions(depth, batch_norm):
    with torch.device("meta"):
        own = {
            name: tuple(tensor.shape)
            for name, tensor in VGG(depth, 1000, "torchvision", batch_norm).state_dict().items()
        }
    assert own == public_shapes(depth, batch_norm)


def count(network, trainable_from=None):
    names = dict(network.named_parameters())
    if trainable_from is None:
        return sum(p.numel() for p in names.values())
    first = int(trainable_from.rpartition(".")[2])
    return sum(p.numel() for n, p in names.items() if n.startswith("classifier") or int(n.split(".")[1]) >= first)


def test_parameter_counts_are_those_of_the_notebooks():
    with torch.device("meta"):
        assert count(VGG(16, 4, "torchvision")) == 134_276_932
        assert count(VGG(16, 4, "torchvision"), "features.99") == 119_562_244
        assert count(VGG(16, 4, "small")) == 40_669_252
        assert count(VGG(16, 4, "small"), "features.24") == 33_033_988


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_logits_at_any_size(head):
    network = VGG(11, 4, head).eval()
    with torch.no_grad():
        for size in (224, 160):
            assert network(torch.randn(1, 3, size, size)).shape == (1, 4)


def test_unknown_depth_and_head_are_refused():
    with pytest.raises(ValueError, match="11, 16"):
        VGG(13, 4)
    with pytest.raises(ValueError, match="torchvision, small, pooled"):
        VGG(11, 4, "large")
