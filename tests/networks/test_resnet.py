import torch

from monai_brain.networks.resnet import ResNet50


def public_shapes():
    """torchvision's keys and shapes up to the head, written out independently from its documented layout."""

    def norm(prefix, width):
        names = ("weight", "bias", "running_mean", "running_var")
        return {f"{prefix}.{name}": (width,) for name in names} | {f"{prefix}.num_batches_tracked": ()}

    shapes, before = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64), 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            place = f"layer{stage}.{block}"
            shapes |= {f"{place}.conv1.weight": (width, before, 1, 1)} | norm(f"{place}.bn1", width)
            shapes |= {f"{place}.conv2.weight": (width, width, 3, 3)} | norm(f"{place}.bn2", width)
            shapes |= {f"{place}.conv3.weight": (4 * width, width, 1, 1)} | norm(f"{place}.bn3", 4 * width)
            if block == 0:
                shapes |= {f"{place}.downsample.0.weight": (4 * width, before, 1, 1)}
                shapes |= norm(f"{place}.downsample.1", 4 * width)
            before = 4 * width
    return shapes


def test_keys_and_shapes_are_torchvisions():
    with torch.device("meta"):
        network = ResNet50(4)
    own = {name: tuple(t.shape) for name, t in network.state_dict().items() if not name.startswith("fc.")}
    assert own == public_shapes()
    assert sum(p.numel() for n, p in network.named_parameters() if not n.startswith("fc.")) == 23_508_032


def test_strides_are_torchvisions():
    network = ResNet50(4)
    assert network.conv1.stride == (2, 2)
    assert [getattr(network, f"layer{n}")[0].conv2.stride for n in (1, 2, 3, 4)] == [(1, 1), (2, 2), (2, 2), (2, 2)]


def test_head_is_as_wide_as_asked_for():
    assert [p.shape[0] for p in ResNet50(4).fc.parameters() if p.ndim == 2] == [512, 128, 4]
    assert [p.shape[0] for p in ResNet50(4, widths=()).fc.parameters() if p.ndim == 2] == [4]


def test_forward_can_begin_after_any_stage():
    network, image = ResNet50(4).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole, features = network(image), image
        for number, stage in enumerate(network.stages(), 1):
            features = stage(features)
            torch.testing.assert_close(network(features.clone(), first=number), whole)
