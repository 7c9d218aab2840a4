"""What a network's frozen first layers make of every slice: computed once, kept on disk, read by training."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines.utils import default_prepare_batch
from torch import Tensor, nn
from torch.utils.data import Dataset

import monai_brain
from monai_brain.training.reproducibility import CachedSlices

BATCH = 64
"""Slices that go through the frozen layers at once."""

GIGABYTE = 1_000_000_000

KEPT_FREE = 2 * GIGABYTE
"""What is left of the disk, at least."""

SECONDS_OF_A_DAY = 86_400

logger = logging.getLogger(__name__)


class FrozenFeatures:
    """Lets training read the output of the frozen first layers from disk instead of computing it every epoch.

    At the start of every epoch it looks how many of the network's `stages` are frozen. While some are, each
    training slice has `num_views` views instead of a new one per epoch, whether they are cached or
    not, so that the switch changes speed alone: results are the same to rounding (what is cached is bfloat16).
    When a phase unfreezes deeper layers, training goes on behind the layers that are still frozen; a stage
    that a later phase needs is kept on the way, so no slice passes a layer twice.

    A file holds one view of one set of slices, is named by the hash of everything that it was made from, is
    written under another name and renamed, and is shared by all runs. The least recently used files go when
    there is no room.

    Args:
        network: `stages()` gives its first layers, and its `forward` takes `first`; networks without train as ever.
        training: the slices to train on.
        validation: the slices to validate on; they have one view.
        folder: where the files go.
        transforms: plain data that describes the random and intensity transforms, for the hash.
        num_views: views per slice: as it is, and augmented ones.
        enabled: keep files; otherwise the frozen layers are computed each time.
        max_gigabytes: of all files in `folder`. What does not fit is not cached, and a warning says so.
        device: where the network is.
    """

    def __init__(
        self,
        network: nn.Module,
        training: CachedSlices,
        validation: CachedSlices,
        folder: str | Path,
        transforms: Any,
        num_views: int = 4,
        enabled: bool = True,
        max_gigabytes: float = 20.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network = network
        self.training = training
        self.validation = validation
        self.folder = Path(folder)
        self.transforms = transforms
        self.num_views = num_views
        self.enabled = enabled
        self.max_bytes = int(max_gigabytes * GIGABYTE)
        self.device = torch.device(device)
        self.first = 0
        self.later: list[int] = []
        self._contents: dict[int, str] = {}
        self._weights: dict[int, str] = {}

    def attach(self, trainer: Engine, schedule: Any = None) -> None:
        """Listen to the trainer; after the schedule did, whose later phases tell which stages to keep on the way."""
        if schedule is not None:
            self.later = [self._frozen_stages(schedule.frozen_in(phase)) for phase in range(len(schedule.starts))]
        trainer.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)

    def prepare_batch(
        self, batch: Mapping[str, Tensor], device: Any = None, non_blocking: bool = False, **options: Any
    ) -> Any:
        """MONAI's, and with cached features the stage at which the network begins."""
        image, label = default_prepare_batch(batch, device, non_blocking, **options)
        return (image, label, (), {"first": self.first}) if self.first else (image, label)

    def _begin_epoch(self, engine: Engine) -> None:
        frozen = self._frozen_stages({name for name, p in self.network.named_parameters() if not p.requires_grad})
        self.training.num_views = self.num_views if frozen else 0
        first = frozen if self.enabled else 0
        if first == self.first:
            return
        self.training.features, self.validation.features, self.validation.num_views = None, None, 0
        self.first = 0
        self._weights.clear()
        if first and self._has_room(first):
            with torch.random.fork_rng(devices=[]):  # a run with a warm cache draws the same numbers
                self.training.features = self._features(self.training, self.num_views, first)
                self.validation.features = self._features(self.validation, 1, first)
            self.validation.num_views = 1
            self.first = first

    def _frozen_stages(self, frozen: set[str]) -> int:
        """How many of the first stages have no parameter to train."""
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        stages = stages_of(self.network)
        trained = [any(names[id(p)] not in frozen for p in stage.parameters()) for stage in stages]
        parameters = [any(True for _ in stage.parameters()) for stage in stages]
        count = trained.index(True) if True in trained else len(stages)
        return count if any(parameters[:count]) else 0

    def _features(self, dataset: CachedSlices, views: int, first: int) -> list[Tensor]:
        paths = [self._path(dataset, view, first) for view in range(views)]
        if idist.get_rank() == 0:
            for view, path in enumerate(paths):
                if not path.is_file():
                    logger.info("computing features of %d slices, view %d of %d", len(dataset), view + 1, views)
                    self._compute(dataset, view, first)
                os.utime(path)
        idist.barrier()
        return [read_features(path) for path in paths]

    def _compute(self, dataset: CachedSlices, view: int, first: int) -> None:
        """Write one view at stage `first`, and at the stages before it that later phases begin with."""
        stops = sorted({stage for stage in self.later if 0 < stage < first} | {first})
        done = [stage for stage in stops if self._path(dataset, view, stage).is_file()]
        begin = max(done, default=0)
        source: Dataset = (
            _View(dataset, view) if not begin else _Stored(read_features(self._path(dataset, view, begin)))
        )
        writers = [_Writer(self._path(dataset, view, stop), len(dataset)) for stop in stops if stop > begin]
        layers = stages_of(self.network)
        bounds = [begin, *(stop for stop in stops if stop > begin)]
        self.network.eval()
        for images in torch.utils.data.DataLoader(source, batch_size=BATCH):
            features = images.to(self.device).contiguous(memory_format=torch.channels_last)
            for writer, (low, high) in zip(writers, pairwise(bounds), strict=True):
                with torch.no_grad(), torch.autocast(self.device.type, dtype=torch.bfloat16):
                    features = nn.Sequential(*layers[low:high])(features)
                writer.append(features)
        for writer in writers:
            writer.finish()

    def _path(self, dataset: CachedSlices, view: int, first: int) -> Path:
        if id(dataset) not in self._contents:
            self._contents[id(dataset)] = dataset.content_hash()
        stages = nn.ModuleList(stages_of(self.network)[:first])
        if first not in self._weights:
            self._weights[first] = _hash_of_state(stages)
        made_from = {
            "slices": self._contents[id(dataset)],
            "layers": [str(stage) for stage in stages],
            "weights": self._weights[first],
            "transforms": self.transforms,
            "augmented": dataset is self.training,
            "view": view,
            "versions": [monai_brain.__version__, monai.__version__, torch.__version__, self.device.type],
        }
        name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{name}.npy"

    def _has_room(self, first: int) -> bool:
        """Make room for all files of one stage, if that can be done; the first process decides for all."""
        return bool(idist.broadcast(float(self._make_room(first)) if idist.get_rank() == 0 else 0.0, src=0))

    def _make_room(self, first: int) -> bool:
        stages = {first, *(stage for stage in self.later if 0 < stage < first)}
        views = [(self.training, view) for view in range(self.num_views)] + [(self.validation, 0)]
        wanted = {self._path(dataset, view, stage) for stage in stages for dataset, view in views}
        present = sum(path.stat().st_size for path in wanted if path.is_file())
        if all(path.is_file() for path in wanted):
            return True
        size = self._bytes(stages)
        self.folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(self.folder)
        _forget_oldest(self.folder, keep=wanted, room=self.max_bytes - size)
        free = shutil.disk_usage(self.folder).free - KEPT_FREE
        if size <= self.max_bytes and size - present <= free:
            return True
        logger.warning(
            "features of the frozen layers need %.1f GB in %s; %.1f are allowed and %.1f free: they are computed "
            "in every epoch instead, which takes longer. Raise max_feature_gigabytes, or set features_dir to another "
            "disk",
            size / GIGABYTE,
            self.folder,
            self.max_bytes / GIGABYTE,
            max(0, free) / GIGABYTE,
        )
        return False

    def _bytes(self, stages: set[int]) -> int:
        """What the files of some stages take."""
        features = self.training.view(0, 0)["image"][None].to(self.device)
        total = 0
        self.network.eval()
        with torch.no_grad():
            for stage, layer in enumerate(stages_of(self.network)[: max(stages)], 1):
                features = layer(features)
                total += features.numel() * 2 * (stage in stages)
        return total * (len(self.training) * self.num_views + len(self.validation))


class _View(Dataset):
    def __init__(self, dataset: CachedSlices, view: int) -> None:
        self.dataset, self.number = dataset, view

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        return self.dataset.view(index, self.number)["image"]


class _Stored(Dataset):
    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> Tensor:
        return self.features[index]


class _Writer:
    """Appends batches to a .npy file under another name, and gives it its own when it is whole."""

    def __init__(self, path: Path, slices: int) -> None:
        self.path = path
        self.slices = slices
        self.partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
        self.array: np.memmap | None = None
        self.written = 0

    def append(self, features: Tensor) -> None:
        """(N, C, h, w) or (N, C), stored channels last as the bits of bfloat16."""
        bits = _channels_last(features.to(torch.bfloat16)).contiguous().cpu().view(torch.int16).numpy()
        if self.array is None:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self.array = np.lib.format.open_memmap(self.partial, "w+", np.int16, (self.slices, *bits.shape[1:]))
        self.array[self.written : self.written + len(bits)] = bits
        self.written += len(bits)

    def finish(self) -> None:
        assert self.array is not None
        assert self.written == self.slices
        self.array.flush()
        self.array = None
        self.partial.replace(self.path)


def stages_of(network: nn.Module) -> list[nn.Module]:
    """The first layers of a network after any of which its `forward` can begin; none where it has no `stages`."""
    stages = getattr(network, "stages", None)
    return stages() if callable(stages) else []


def read_features(path: Path) -> Tensor:
    """A file of the cache, memory-mapped.

    Returns:
        (N, C, h, w) bfloat16, channels last in memory.
    """
    bits = torch.from_numpy(np.lib.format.open_memmap(path, "c"))  # copy on write: torch wants writable arrays
    features = bits.view(torch.bfloat16)
    return features.permute(0, 3, 1, 2) if features.ndim == 4 else features


def _channels_last(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1) if features.ndim == 4 else features


def _hash_of_state(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _forget_oldest(folder: Path, keep: set[Path], room: int) -> None:
    """Remove the least recently used files until the others take no more than `room` bytes."""
    others = sorted((p for p in folder.glob("*.npy") if p not in keep), key=lambda p: p.stat().st_mtime)
    total = sum(path.stat().st_size for path in others)
    for path in others:
        if total <= room:
            return
        total -= path.stat().st_size
        path.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    """Partial files of processes that are gone."""
    for path in folder.glob("*.partial"):
        if not _alive(path):
            path.unlink(missing_ok=True)


def _alive(partial: Path) -> bool:
    """Whether the process that a partial file names may still write it."""
    if os.name != "posix":  # there is no harmless way to ask
        return time.time() - partial.stat().st_mtime < SECONDS_OF_A_DAY
    try:
        os.kill(int(partial.name.split(".")[1]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
