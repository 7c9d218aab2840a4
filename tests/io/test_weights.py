import pickle

import pytest
import torch

from monai_brain.io.weights import UnusableWeights, find_weights, load_weights, read_weights, write_weights


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
    with pytest.raises(UnusableWeights, match="another network"):
        load_weights(network(), tmp_path)


def test_no_weights_says_how_to_get_some(tmp_path):
    with pytest.raises(UnusableWeights, match=r"monai\.bundle run training"):
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
    with pytest.raises(UnusableWeights):
        read_weights(path)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_here"), "w"))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(UnusableWeights):
            read_weights(tmp_path / name)
    assert not (tmp_path / "was_here").exists()
