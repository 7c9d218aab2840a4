import json
import pickle

import pytest
import torch
from safetensors.torch import save

from monai_brain.io.weights import (
    InvalidWeights,
    find_weights,
    load_weights,
    read_weights,
    start_from,
    write_weights,
)
from monai_brain.io.write import sha256_of
from monai_brain.networks.vgg import VGG


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


def test_half_precision_file_fills_a_single_precision_network(tmp_path):
    write_weights(network(), tmp_path / "model.safetensors", dtype=torch.float16)
    target = network()
    torch.nn.init.zeros_(target[0].weight)
    load_weights(target, tmp_path)
    assert target[0].weight.dtype == torch.float32
    torch.testing.assert_close(target[0].weight, network()[0].weight, atol=1e-3, rtol=0)


def test_weights_of_another_network_are_refused(tmp_path):
    write_weights(torch.nn.Linear(4, 2), tmp_path / "model.safetensors")
    with pytest.raises(InvalidWeights, match="another network"):
        load_weights(network(), tmp_path)


def test_no_weights_says_how_to_get_some(tmp_path):
    with pytest.raises(InvalidWeights, match=r"monai\.bundle run training"):
        find_weights(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_file_is_refused(tmp_path, name, damage):
    path = tmp_path / name
    if name.endswith("pt"):
        torch.save(network().state_dict(), path)
    else:
        write_weights(network(), path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-10]
    else:
        values = network()[0].weight.detach().numpy().tobytes()
        content[content.index(values) if name.endswith("pt") else 3] ^= 255
    path.write_bytes(content)
    with pytest.raises(InvalidWeights):
        read_weights(path)


def test_bare_tensor_is_refused(tmp_path):
    torch.save(torch.ones(3), tmp_path / "model.pt")
    with pytest.raises(InvalidWeights, match="state_dict"):
        read_weights(tmp_path / "model.pt")


def test_pickled_code_is_refused_and_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_here"), "w"))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(InvalidWeights):
            read_weights(tmp_path / name)
    assert not (tmp_path / "was_here").exists()


def body(classes, seed=0):
    torch.manual_seed(seed)
    network = torch.nn.Module()
    network.features, network.classifier = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, classes)
    return network


def test_start_keeps_a_head_of_other_classes(tmp_path):
    write_weights(body(1000), tmp_path / "w.safetensors")
    target, fresh = body(4, seed=1), body(4, seed=1)
    start_from(target, str(tmp_path / "w.safetensors"))
    assert torch.equal(target.features.weight, body(1000).features.weight)
    assert torch.equal(target.classifier.weight, fresh.classifier.weight)


def test_start_takes_a_file_of_features_only(tmp_path):
    weights = {name: t for name, t in body(4).state_dict().items() if name.startswith("features")}
    torch.save(weights, tmp_path / "features.pt")
    target = start_from(body(4, seed=1), str(tmp_path / "features.pt"))
    assert torch.equal(target.features.bias, body(4).features.bias)


def test_start_from_another_network_is_refused(tmp_path):
    write_weights(network(), tmp_path / "w.safetensors")
    with pytest.raises(InvalidWeights, match="another network"):
        start_from(body(4), str(tmp_path / "w.safetensors"))


def test_start_from_scratch_changes_nothing():
    target = start_from(body(4), "none")
    assert torch.equal(target.features.weight, body(4).features.weight)


def test_imagenet_without_internet_says_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with torch.device("meta"):
        vgg = VGG(11, 4)
    with pytest.raises(InvalidWeights, match=r"put that file at .*vgg11-8a719046\.pth"):
        start_from(vgg, "imagenet")


def test_imagenet_for_a_network_without_public_weights_is_refused():
    with pytest.raises(InvalidWeights, match="no public ImageNet weights"):
        start_from(body(4), "imagenet")


def flip_a_bit(path):
    """The lowest one of a weight, which changes nothing that a person would see."""
    content = bytearray(path.read_bytes())
    content[content.index(network()[0].weight.detach().numpy().tobytes())] ^= 1
    path.write_bytes(content)


@pytest.mark.bad_input(80)
def test_80_flipped_bit_in_safetensors_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    write_weights(network(), path)
    load_weights(network(), path)
    flip_a_bit(path)
    with pytest.raises(InvalidWeights, match="fail their checksum"):
        load_weights(network(), path)


@pytest.mark.bad_input(80)
def test_80_file_without_a_checksum_is_held_against_the_manifest_or_warned_of(tmp_path, caplog):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({name: own.contiguous() for name, own in network().state_dict().items()}))
    load_weights(network(), path)
    assert "has no checksum" in caplog.text
    caplog.clear()
    (tmp_path / "run.json").write_text(json.dumps({"result": {"weights_sha256": sha256_of(path)}}))
    load_weights(network(), path)
    assert not caplog.text
    flip_a_bit(path)
    with pytest.raises(InvalidWeights, match="fail their checksum"):
        load_weights(network(), path)


def test_same_weights_and_settings_make_the_same_file(tmp_path):
    network = torch.nn.Linear(3, 2)
    for number in range(20):  # metadata come in a random order from the library
        write_weights(network, tmp_path / f"{number}.safetensors", settings={"a": 1})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    load_weights(torch.nn.Linear(3, 2), tmp_path / "0.safetensors")
