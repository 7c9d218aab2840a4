import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.transforms import Compose, RandFlipd
from torch.utils.data import DataLoader

from monai_brain.networks.autocast import AutocastInferer
from monai_brain.networks.cnn import CNN
from monai_brain.networks.vgg import VGG
from monai_brain.training import feature_files
from monai_brain.training.feature_files import _host
from monai_brain.training.features import FrozenFeatures, InvalidViews
from monai_brain.training.reproducibility import CachedSlices, start
from monai_brain.training.schedule import Schedule, parameter_groups
from monai_brain.transforms.intensity import NormalizeChannelsd, ScaleToUnitd
from monai_brain.transforms.load import LoadSliced

PHASES = [
    {"epochs": 2, "layers": {"classifier": 1.0e-3}},
    {"epochs": 1, "layers": {"features.16+": 1.0e-4, "classifier": 1.0e-3}},
    {"layers": {"*": 1.0e-4}},
]
SLICES = 10


def slices(folder, *random):
    start(0)
    data = [{"image": str(path), "label": n % 4} for n, path in enumerate(sorted(folder.rglob("*.png"))[:SLICES])]
    transforms = [LoadSliced("image"), *random, ScaleToUnitd("image"), NormalizeChannelsd("image")]
    return CachedSlices(data, Compose(transforms), num_cached=1, seed=5)


class Setting:
    """A network, its data, schedule and cache, and a trainer that notes what it is given."""

    def __init__(self, images, folder, network=None, phases=PHASES, **options):
        torch.manual_seed(0)
        self.network = network or VGG(11, 4, "pooled")
        self.training = slices(images, RandFlipd("image", prob=0.5, spatial_axis=1))
        self.validation = slices(images)
        self.cache = FrozenFeatures(
            self.network, self.training, self.validation, folder, {"flip": 0.5}, **{"num_views": 2, **options}
        )
        self.schedule = Schedule(
            self.network,
            torch.optim.SGD(parameter_groups(self.network, phases), lr=1.0),
            phases,
            max_epochs=4,
            weights="file",
        )
        self.batches = []

    def run(self, epochs=4):
        trainer = Engine(self.step)
        self.schedule.attach(trainer)
        self.cache.attach(trainer, self.schedule)
        trainer.run(DataLoader(self.training, batch_size=SLICES), max_epochs=epochs)
        return self

    def step(self, engine, batch):
        image, _, _, options = (*self.cache.prepare_batch(batch), (), {})[:4]
        self.training.epoch.fill_(engine.state.epoch)  # views of the next epoch
        self.network.eval()
        with torch.no_grad():
            logits = AutocastInferer("bf16")(image, self.network, **options)
        self.batches.append((self.cache.first, tuple(image.shape[1:]), logits))


def test_cache_follows_the_phases_to_deeper_layers_and_ends_with_the_last(phantom_folder, tmp_path):
    setting = Setting(phantom_folder, tmp_path).run()
    assert [(first, shape) for first, shape, _ in setting.batches] == [
        (21, (512, 2, 2)),
        (21, (512, 2, 2)),
        (16, (512, 4, 4)),
        (0, (3, 64, 64)),
    ]
    assert setting.validation.features is None


def test_cached_features_give_the_logits_that_the_whole_network_gives(phantom_folder, tmp_path):
    cached = Setting(phantom_folder, tmp_path).run()
    computed = Setting(phantom_folder, tmp_path, enabled=False).run()
    assert [first for first, _, _ in computed.batches] == [0, 0, 0, 0]
    for (_, _, one), (_, _, other) in zip(cached.batches, computed.batches, strict=True):
        torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)
    first, second = cached.batches[0][2], cached.batches[1][2]
    assert not torch.allclose(first, second, atol=1e-4), "another epoch draws other views"


def test_features_on_disk_are_the_layers_output(phantom_folder, tmp_path):
    setting = Setting(phantom_folder, tmp_path).run(epochs=1)
    image = setting.training.view(3, 1)["image"][None]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = setting.network.features(image)[0]
    stored = setting.training.features[1][3]
    assert stored.dtype == torch.bfloat16
    torch.testing.assert_close(stored, expected, atol=0.02, rtol=0.02)


def test_later_stage_is_kept_on_the_way_and_no_slice_passes_a_layer_twice(phantom_folder, tmp_path):
    setting = Setting(phantom_folder, tmp_path)
    seen = []
    setting.network.features[0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    setting.run(epochs=3)
    one_to_see_the_size = 1
    assert sum(seen) == SLICES * 3 + one_to_see_the_size  # two views to train on, one to validate
    assert len(list(tmp_path.glob("*.npy"))) == 2 * 3  # two stages


def test_second_run_reads_what_the_first_one_wrote(phantom_folder, tmp_path):
    first = Setting(phantom_folder, tmp_path).run()
    second = Setting(phantom_folder, tmp_path)
    second.network.features[0].register_forward_hook(lambda *_: pytest.fail("computed again"))
    second.run(epochs=3)
    for (_, _, one), (_, _, other) in zip(first.batches[:3], second.batches, strict=True):
        assert torch.equal(one, other)


@pytest.mark.bad_input(80)
@pytest.mark.parametrize("where", [0.3, 0.9, 1.0], ids=["early", "late", "checksum"])
def test_80_flipped_bit_in_cached_features_is_noticed_and_the_file_made_anew(phantom_folder, tmp_path, caplog, where):
    first = Setting(phantom_folder, tmp_path).run(epochs=3)
    wanted = [(path.name, path.read_bytes()) for path in sorted(tmp_path.glob("*.npy"))]
    broken = tmp_path / wanted[0][0]
    content = bytearray(wanted[0][1])
    content[round(where * (len(content) - 1))] ^= 1
    broken.write_bytes(content)
    second = Setting(phantom_folder, tmp_path).run(epochs=3)
    assert f"{broken.name}: damaged" in caplog.text
    assert [(path.name, path.read_bytes()) for path in sorted(tmp_path.glob("*.npy"))] == wanted
    assert torch.equal(first.batches[0][2], second.batches[0][2])


@pytest.mark.parametrize("change", ["weights", "transforms", "slices"])
def test_another_content_gets_other_files(phantom_folder, tmp_path, change):
    Setting(phantom_folder, tmp_path).run(epochs=1)
    before = set(tmp_path.glob("*.npy"))
    setting = Setting(phantom_folder, tmp_path)
    if change == "weights":
        with torch.no_grad():
            setting.network.features[0].bias[0] += 1e-3
    elif change == "transforms":
        setting.cache.transforms = {"flip": 0.6}
    else:
        for dataset in (setting.training, setting.validation):
            dataset.fill()
            dataset._cache[0]["image"] = dataset._cache[0]["image"].copy()
            dataset._cache[0]["image"][0, 0, 0] ^= 1
    setting.run(epochs=1)
    assert len(set(tmp_path.glob("*.npy")) - before) == len(before)


def test_head_may_change_without_new_files(phantom_folder, tmp_path):
    Setting(phantom_folder, tmp_path).run(epochs=1)
    before = set(tmp_path.glob("*.npy"))
    setting = Setting(phantom_folder, tmp_path)
    with torch.no_grad():
        setting.network.classifier[2].bias += 1
    setting.run(epochs=1)
    assert set(tmp_path.glob("*.npy")) == before


def test_what_does_not_fit_is_computed_instead_and_said(phantom_folder, tmp_path, caplog):
    setting = Setting(phantom_folder, tmp_path, max_gigabytes=1e-6).run(epochs=1)
    assert [(first, shape) for first, shape, _ in setting.batches] == [(0, (3, 64, 64))]
    assert "max_feature_gigabytes" in caplog.text
    assert not list(tmp_path.glob("*.npy"))


OLD, NEWER = (f"{digit * 32}.npy" for digit in "ab")
"""Names as the cache gives them."""


def older_files(folder, count=20_000):
    for age, name in ((100, OLD), (50, NEWER)):
        np.save(folder / name, np.zeros(count, np.uint8))
        os.utime(folder / name, (age, 1_000_000_000 - age))


def test_least_recently_used_files_go_when_there_is_no_room(phantom_folder, tmp_path):
    Setting(phantom_folder, tmp_path).run(epochs=1)
    own = {path: path.stat().st_size for path in tmp_path.glob("*.npy")}
    older_files(tmp_path)
    min(own, key=own.get).unlink()  # of the stage that is needed now
    room = (sum(own.values()) + 30_000) / 1e9
    setting = Setting(phantom_folder, tmp_path, max_gigabytes=room).run(epochs=1)
    assert setting.cache.first == 21
    assert {path.name for path in set(tmp_path.glob("*.npy")) - set(own)} == {NEWER}


def test_nothing_goes_where_it_would_not_help(phantom_folder, tmp_path, caplog):
    older_files(tmp_path)
    setting = Setting(phantom_folder, tmp_path, max_gigabytes=1e-6).run(epochs=2)
    assert setting.cache.first == 0
    assert {path.name for path in tmp_path.iterdir()} == {OLD, NEWER}
    assert caplog.text.count("max_feature_gigabytes") == 1, "said once, and not every epoch"


def test_earlier_stages_are_not_kept_where_only_the_first_fits(phantom_folder, tmp_path):
    last_stage = SLICES * 3 * 512 * 2 * 2 * 2
    setting = Setting(phantom_folder, tmp_path, max_gigabytes=(last_stage + 1000) / 1e9).run(epochs=1)
    assert setting.cache.first == 21
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_files_of_others_are_left_alone(phantom_folder, tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros(20_000))
    (tmp_path / "data.1.partial").write_bytes(b"x")
    own = SLICES * 3 * (512 * 2 * 2 + 512 * 4 * 4) * 2 / 1e9
    assert Setting(phantom_folder, tmp_path, max_gigabytes=own * 1.01).run(epochs=1).cache.first == 21
    assert (tmp_path / "mine.npy").is_file()
    assert (tmp_path / "data.1.partial").is_file()


def test_partial_files_of_dead_processes_are_removed_and_others_left(phantom_folder, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [
        f"{'0' * 32}.{host}.{process}.12ab.partial"
        for host, process in ((_host(), dead.pid), (_host(), os.getppid()), ("elsewhere", dead.pid))
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    Setting(phantom_folder, tmp_path).run(epochs=1)
    assert {path.name for path in tmp_path.glob("*.partial")} == set(names[1:])


def test_disk_that_fills_up_is_said_and_training_goes_on(phantom_folder, tmp_path, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_files.Writer, "append", full)
    setting = Setting(phantom_folder, tmp_path).run(epochs=1)
    assert [(first, shape) for first, shape, _ in setting.batches] == [(0, (3, 64, 64))]
    assert "No space left on device" in caplog.text
    assert not list(tmp_path.iterdir())


def test_single_precision_is_kept_as_such(phantom_folder, tmp_path):
    setting = Setting(phantom_folder, tmp_path, precision="fp32").run(epochs=1)
    image = setting.training.view(3, 1)["image"][None]
    with torch.no_grad():
        expected = setting.network.features(image)[0]
    stored = setting.training.features[1][3]
    assert stored.dtype == torch.float32
    torch.testing.assert_close(stored, expected, atol=1e-5, rtol=1e-5)


def test_no_view_at_all_is_refused(phantom_folder, tmp_path):
    with pytest.raises(InvalidViews, match="num_views is 0; give 1"):
        Setting(phantom_folder, tmp_path, num_views=0)


def test_views_are_the_same_for_every_seed_and_fresh_without_frozen_layers(phantom_folder, tmp_path):
    setting = Setting(phantom_folder, tmp_path, enabled=False).run(epochs=1)
    setting.training.seed = 6
    shown = {tuple(setting.training.view(3, view)["image"].flatten().tolist()[::97]) for view in (0, 1)}
    setting.training.epoch.fill_(17)
    assert tuple(setting.training[3]["image"].flatten().tolist()[::97]) in shown
    assert setting.training.num_views == 2
    everything = Setting(phantom_folder, tmp_path, phases=[{"layers": {"*": 1.0e-3}}]).run(epochs=1)
    assert everything.training.num_views == 0
    assert everything.cache.first == 0


def test_network_without_stages_trains_as_ever(phantom_folder, tmp_path):
    setting = Setting(phantom_folder, tmp_path, network=CNN(4, image_size=64), phases=[{"layers": {"*": 1.0}}])
    setting.run(epochs=1)
    assert setting.batches[0][:2] == (0, (3, 64, 64))
    assert not list(tmp_path.glob("*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_read_the_cache_too(phantom_folder, tmp_path, workers):
    setting = Setting(phantom_folder, tmp_path).run(epochs=1)
    batch = next(iter(DataLoader(setting.training, batch_size=SLICES, num_workers=workers)))
    assert torch.equal(batch["image"][4], setting.training[4]["image"])
    assert batch["image"].shape == (SLICES, 512, 2, 2)
