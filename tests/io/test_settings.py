import pytest

from monai_brain.io import settings
from monai_brain.io.write import write_json

GOOD = {"image_size": 64, "network_def": {"_target_": "monai_brain.networks.cnn.CNN", "num_classes": 4}}


def test_recorded_settings_are_read_beside_the_weights(tmp_path):
    write_json(tmp_path / "run.json", {"settings": {**GOOD, "run": ["$print()"][:0]}})
    assert settings.read(tmp_path / "model.safetensors") == GOOD
    assert settings.read(tmp_path) == GOOD


def test_folder_without_a_run_has_no_settings(tmp_path):
    assert settings.read(tmp_path) is None


@pytest.mark.parametrize(
    "evil",
    [
        {"network_def": {"_target_": "os.system", "command": "true"}},
        {"network_def": {"_target_": "monai_brain.networks.cnn.nn.Module.load"}},
        {"network_def": {"_target_": "monai_brain.io.weights.torch.load"}},
        {"network_def": {"_target_": "monai_brain.networks.cnn.CNN.__init__.__globals__"}},
        {"network_def": {"_target_": "torch.nn.Module.apply"}},
        {"image_size": "$__import__('os').system('true')"},
        {"image_size": "%other.yaml::x"},
        {"deterministic_transforms": [{"_target_": "monai_brain.transforms.load.LoadSliced", "keys": ["@run"]}]},
        {"network_def": {"_target_": "torch.nn.Flatten", "_disabled_": "$1"}},
        {"network_def": {"_target_": ["os.system"]}},
    ],
)
def test_code_in_recorded_settings_is_refused(tmp_path, evil):
    write_json(tmp_path / "run.json", {"settings": evil})
    with pytest.raises(settings.UnsafeSettings):
        settings.read(tmp_path)
