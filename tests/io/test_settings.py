import pytest
import torch

from monai_brain.io import settings
from monai_brain.io.weights import write_weights
from monai_brain.io.write import write_json

GOOD = {"image_size": 64, "network_def": {"_target_": "monai_brain.networks.cnn.CNN", "num_classes": 4}}


def test_recorded_settings_are_read_beside_the_weights(tmp_path):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    write_json(tmp_path / "run.json", {"settings": {**GOOD, "run": []}})
    assert settings.read(tmp_path / "model.safetensors") == GOOD
    assert settings.read(tmp_path) == GOOD


def test_settings_travel_inside_the_weights(tmp_path):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "moved.safetensors", settings=GOOD)
    assert settings.read(tmp_path / "moved.safetensors") == GOOD


def test_checkpoint_has_its_runs_settings(tmp_path):
    write_json(tmp_path / "run.json", {"settings": GOOD})
    (tmp_path / "checkpoints").mkdir()
    torch.save({}, tmp_path / "checkpoints" / "epoch_0001.pt")
    assert settings.read(tmp_path / "checkpoints" / "epoch_0001.pt") == GOOD


def test_transforms_of_monai_may_be_handed_on():
    assert settings.check([{"_target_": "ScaleIntensityd"}, {"_target_": "monai.transforms.Resized"}], "x") is None


@pytest.mark.parametrize("content", ["{", "[]", '{"settings": [1]}'])
def test_damaged_manifest_is_refused(tmp_path, content):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(settings.UnsafeSettings):
        settings.read(tmp_path)


def test_folder_without_a_run_has_no_settings(tmp_path):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    assert settings.read(tmp_path) is None


@pytest.mark.parametrize(
    "evil",
    [
        {"network_def": {"_target_": "os.system", "command": "true"}},
        {"network_def": {"_target_": "monai_brain.networks.cnn.nn.Module.load"}},
        {"network_def": {"_target_": "monai_brain.io.weights.torch.load"}},
        {"network_def": {"_target_": "monai_brain.networks.cnn.CNN.__init__.__globals__"}},
        {"network_def": {"_target_": "torch.nn.Module.apply"}},
        {"network_def": {"_target_": "monai.networks.nets.HoVerNet", "pretrained_url": "http://x/y.pth"}},
        {"network_def": {"_target_": "monai.networks.nets.resnet18", "pretrained": "/etc/passwd"}},
        {"image_size": "$__import__('os').system('true')"},
        {"image_size": "%other.yaml::x"},
        {"deterministic_transforms": [{"_target_": "monai_brain.transforms.load.LoadSliced", "keys": ["@run"]}]},
        {"network_def": {"_target_": "torch.nn.Flatten", "_disabled_": "$1"}},
        {"network_def": {"_target_": ["os.system"]}},
    ],
)
def test_code_in_recorded_settings_is_refused(tmp_path, evil):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    write_json(tmp_path / "run.json", {"settings": evil})
    with pytest.raises(settings.UnsafeSettings):
        settings.read(tmp_path)
