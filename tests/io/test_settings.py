import json

import monai.bundle
import pytest
import torch

from monai_brain.inference.apply import start_workflow
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
        {"class_names": ["../../up", "b"]},
        {"class_names": ["<script>", "b"]},
        {"class_names": "ab"},
    ],
)
def test_code_in_recorded_settings_is_refused(tmp_path, evil):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    write_json(tmp_path / "run.json", {"settings": evil})
    with pytest.raises(settings.UnsafeSettings):
        settings.read(tmp_path)


def test_what_an_evaluation_chose_is_checked_like_any_other_setting(tmp_path):
    write_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    write_json(tmp_path / "datalist.json", {"test": []})
    settings.keep_chosen(tmp_path, tmp_path, tmp_path / "datalist.json", {"threshold": 0.3, "image_size": 7})
    assert settings.read_chosen(tmp_path) == {"threshold": 0.3}
    note = tmp_path / settings.CHOSEN_FILE
    write_json(note, {**json.loads(note.read_text()), "threshold": "$__import__('os').system('true')"})
    with pytest.raises(settings.UnsafeSettings, match="expression"):
        settings.read_chosen(tmp_path)


CONFIG = """
imports: ["$from monai_brain.io.settings import adopt"]
name: big
weights: null
image_size: 160
cam_layer: features.29
run: ["$adopt(@weights)"]
"""
OVERLAY = "name: small\nimage_size: 224\ncam_layer: features.19\n"


def by_command_line(files, **options):
    monai.bundle.run("run", config_file=[str(file) for file in files], **options)


def by_arguments_file(files, **options):
    path = files[0].parent.parent / "arguments.json"
    path.write_text(json.dumps({"config_file": [str(file) for file in files], **options}))
    monai.bundle.run("run", args_file=str(path))


def by_hand(files, **options):
    run = monai.bundle.ConfigWorkflow([str(file) for file in files], logging_file=False, **options)
    run.initialize()
    run.run()


def by_the_package(files, **options):
    start_workflow(files, "train", **options).run()


WAYS = [by_the_package, by_command_line, by_arguments_file, by_hand]


@pytest.fixture
def adopted(tmp_path, monkeypatch):
    """Run a small bundle on weights with settings, some way; gives what it then goes by."""
    (tmp_path / "configs" / "networks").mkdir(parents=True)
    (tmp_path / "configs" / "train.yaml").write_text(CONFIG)
    (tmp_path / "configs" / "networks" / "small.yaml").write_text(OVERLAY)
    (tmp_path / "configs" / "metadata.json").write_text("{}")
    write_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")
    write_json(tmp_path / "run.json", {"settings": {"image_size": 64, "cam_layer": "features.10"}})
    found = {}
    parse = monai.bundle.ConfigParser.parse
    monkeypatch.setattr(
        monai.bundle.ConfigParser, "parse", lambda self, reset=True: (found.update(self.config), parse(self, reset))
    )

    def run(way, *overlays, **options):
        configs = tmp_path / "configs"
        way([configs / "train.yaml", *(configs / name for name in overlays)], weights=str(tmp_path), **options)
        return found["image_size"], found["cam_layer"]

    return run


@pytest.mark.parametrize("way", WAYS)
def test_what_config_files_say_gives_way_to_what_is_recorded(adopted, way):
    assert adopted(way) == (64, "features.10")
    assert adopted(way, "networks/small.yaml") == (64, "features.10")


@pytest.mark.parametrize("way", WAYS)
def test_layer_that_the_user_names_is_used_though_an_overlay_has_it_too(adopted, way):
    assert adopted(way, cam_layer="features.19") == (64, "features.19")


@pytest.mark.parametrize("way", WAYS)
def test_size_that_the_user_names_is_refused_though_an_overlay_has_it_too(adopted, way):
    with pytest.raises(RuntimeError) as caught:
        adopted(way, image_size=224)
    assert "the weights were trained with 64; leave it out" in str(caught.value.__cause__)
    assert adopted(way, image_size=64) == (64, "features.10")


@pytest.mark.parametrize("way", [way for way in WAYS if way is not by_hand])
def test_what_the_user_names_counts_though_it_is_the_files_own(adopted, way):
    assert adopted(way, cam_layer="features.29") == (64, "features.29")
    with pytest.raises(RuntimeError, match="adopt"):
        adopted(way, image_size=160)
