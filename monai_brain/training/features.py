"""Cache the output of a network's frozen first layers for every slice on disk, for training."""

import contextlib
import hashlib
import inspect
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import monai
import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.engines.utils import default_prepare_batch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import monai_brain
from monai_brain.networks.autocast import PRECISIONS
from monai_brain.training.feature_files import (
    GIGABYTE,
    KEPT_FREE,
    StoredFeatures,
    make_room,
    read_features,
    remove_abandoned,
    remove_damaged,
    size_of,
    writing,
)
from monai_brain.training.reproducibility import CachedSlices

BATCH = 64
"""Slices that go through the frozen layers at once."""

logger = logging.getLogger(__name__)


class InvalidViews(ValueError):
    """An invalid number of views."""


class FrozenFeatures:
    """Lets training read the output of the frozen first layers from disk instead of computing it every epoch.

    At the start of every epoch it checks how many of the network's `stages` are frozen. While some are, each
    training slice has `num_views` views instead of a new one per epoch, whether they are cached or not, so that
    caching changes only the speed: results are the same up to rounding. When a phase unfreezes deeper layers,
    training continues after the layers that are still frozen; stages that a later phase needs are stored along the
    way if there is space, so no slice passes a layer twice.

    A file holds one view of one set of slices, is named by the hash of everything that it was made from, is
    written under another name and renamed, and is shared by runs. The least recently used files are
    removed when space runs out. Features that cannot be stored are computed in every epoch, with a warning.

    Args:
        network: `stages()` gives its first layers, and its `forward` takes `first`; networks without train as ever.
        training: the slices to train on.
        validation: the slices to validate on; they have one view.
        folder: where the files go.
        transforms: plain data that describes the random and intensity transforms, for the hash.
        num_views: views per slice: as it is, and augmented ones.
        enabled: keep files; otherwise the frozen layers are computed each time.
        max_gigabytes: of all files of this cache in `folder`.
        precision: `bf16` or `fp32`, in which the frozen layers compute and are kept.
        device: where the network is.

    Raises:
        InvalidViews: `num_views` is below 1.
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
        precision: str = "bf16",
        device: torch.device | str = "cpu",
    ) -> None:
        if num_views < 1:
            raise InvalidViews(f"num_views is {num_views}; give 1 for slices as they are, more for augmented ones too")
        self.network = network
        self.training = training
        self.validation = validation
        self.folder = Path(folder)
        self.transforms = transforms
        self.num_views = num_views
        self.enabled = enabled
        self.max_bytes = int(max_gigabytes * GIGABYTE)
        self.dtype = PRECISIONS[precision] or torch.float32
        self.device = torch.device(device)
        self.first = 0
        self.later: list[int] = []
        self._tried = 0
        self._kept: set[int] = set()
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
        wanted = frozen if self.enabled else 0
        if wanted == self._tried:
            return
        self._tried, self.first = wanted, 0
        self.training.features, self.validation.features, self.validation.num_views = None, None, 0
        self._weights.clear()
        if wanted and self._fill(wanted) and self._open(wanted):
            self.validation.num_views = 1
            self.first = wanted

    def _open(self, first: int) -> bool:
        """Map all files of a stage; whether every process could: another run may have removed one meanwhile."""
        opened: list[list[Tensor]] = []
        with contextlib.suppress(OSError):
            opened = [[read_features(path) for path in self._paths(d, first)] for d in (self.training, self.validation)]
        if idist.all_reduce(float(bool(opened)), op="MIN") == 0.0:
            logger.warning("%s: files went away while others were written; features are computed instead", self.folder)
            return False
        self.training.features, self.validation.features = opened
        return True

    def _frozen_stages(self, frozen: set[str]) -> int:
        """Number of leading stages without trainable parameters."""
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        stages = stages_of(self.network)
        trained = [any(names[id(p)] not in frozen for p in stage.parameters()) for stage in stages]
        parameters = [any(True for _ in stage.parameters()) for stage in stages]
        count = trained.index(True) if True in trained else len(stages)
        return count if any(parameters[:count]) else 0

    def _fill(self, first: int) -> bool:
        """Whether all files of a stage are there, computed now if need be; the first process decides for all."""
        done = 0.0
        if idist.get_rank() == 0:
            try:
                self._remove_damaged(first)
                done = float(self._make_room(first) and self._compute_missing(first))
            except OSError as error:
                logger.warning(
                    "features of the frozen layers cannot be kept in %s (%s): they are computed in every epoch, which "
                    "takes longer; set features_dir to another folder",
                    self.folder,
                    error,
                )
        return bool(idist.broadcast(done, src=0))

    def _remove_damaged(self, first: int) -> None:
        for stage in {stage for stage in self.later if 0 < stage < first} | {first}:
            for dataset in (self.training, self.validation):
                for path in self._paths(dataset, stage):
                    remove_damaged(path)

    def _compute_missing(self, first: int) -> bool:
        with torch.random.fork_rng(devices=[]):  # a run with a warm cache draws the same numbers
            for dataset in (self.training, self.validation):
                for view, path in enumerate(self._paths(dataset, first)):
                    if not path.is_file():
                        logger.info("computing features of %d slices, view %d", len(dataset), view + 1)
                        self._compute(dataset, view, first)
                    os.utime(path)
        return True

    def _compute(self, dataset: CachedSlices, view: int, first: int) -> None:
        """Write one view at stage `first`, and at the stages before it that later phases begin with."""
        stops = sorted({stage for stage in self._kept if stage < first} | {first})
        done = [stage for stage in stops if self._path(dataset, view, stage).is_file()]
        begin = max(done, default=0)
        source: Dataset = (
            _View(dataset, view) if not begin else StoredFeatures(read_features(self._path(dataset, view, begin)))
        )
        bounds = [begin, *(stop for stop in stops if stop > begin)]
        layers = stages_of(self.network)
        self.network.eval()
        with contextlib.ExitStack() as files:
            writers = [
                files.enter_context(writing(self._path(dataset, view, stop), len(dataset))) for stop in bounds[1:]
            ]
            for images in DataLoader(source, batch_size=BATCH):
                features = images.to(self.device).contiguous(memory_format=torch.channels_last)
                for writer, (low, high) in zip(writers, pairwise(bounds), strict=True):
                    features = self._through(nn.Sequential(*layers[low:high]), features)
                    writer.append(features.to(self.dtype))

    def _through(self, layers: nn.Module, features: Tensor) -> Tensor:
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16),
        ):
            return layers(features)

    def _paths(self, dataset: CachedSlices, stage: int) -> list[Path]:
        views = self.num_views if dataset is self.training else 1
        return [self._path(dataset, view, stage) for view in range(views)]

    def _path(self, dataset: CachedSlices, view: int, stage: int) -> Path:
        if id(dataset) not in self._contents:
            self._contents[id(dataset)] = dataset.content_hash()
        layers = nn.ModuleList(stages_of(self.network)[:stage])
        if stage not in self._weights:
            self._weights[stage] = _hash_of_state(layers)
        made_from = {
            "slices": self._contents[id(dataset)],
            "layers": [str(layer) for layer in layers],
            "code": _source(type(self.network)),
            "weights": self._weights[stage],
            "transforms": self.transforms,
            "augmented": dataset is self.training,
            "view": view,
            "example": _hash(dataset.view(0, view)["image"]),  # as the transforms' code is now
            "precision": str(self.dtype),
            "versions": [monai_brain.__version__, monai.__version__, torch.__version__, self.device.type],
        }
        name = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{name}.npy"

    def _make_room(self, first: int) -> bool:
        """Whether there is room for a stage; with the earlier stages that later phases begin with, or without."""
        if all(path.is_file() for d in (self.training, self.validation) for path in self._paths(d, first)):
            return True
        sizes = self._sizes(first)
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self.folder)
        earlier = {stage for stage in self.later if 0 < stage < first}
        for self._kept in (earlier, set()):
            stages = {first, *self._kept}
            wanted = {path for s in stages for d in (self.training, self.validation) for path in self._paths(d, s)}
            missing = sum(sizes[stage] for stage in stages) - sum(size_of(path) for path in wanted)
            if missing <= 0 or make_room(self.folder, wanted, sum(sizes[s] for s in stages), missing, self.max_bytes):
                return True
        logger.warning(
            "features of the frozen layers need %.1f GB in %s, where %.1f are allowed and %.1f free (%.1f stay free): "
            "they are computed in every epoch, which takes longer. Raise max_feature_gigabytes, or set features_dir "
            "to another disk",
            sizes[first] / GIGABYTE,
            self.folder,
            self.max_bytes / GIGABYTE,
            shutil.disk_usage(self.folder).free / GIGABYTE,
            KEPT_FREE / GIGABYTE,
        )
        return False

    def _sizes(self, last: int) -> dict[int, int]:
        """Bytes of all files of every stage up to `last`."""
        features = self.training.view(0, 0)["image"][None].to(self.device)
        slices = len(self.training) * self.num_views + len(self.validation)
        sizes = {}
        self.network.eval()
        for stage, layer in enumerate(stages_of(self.network)[:last], 1):
            features = self._through(layer, features)
            sizes[stage] = features.numel() * self.dtype.itemsize * slices
        return sizes


class _View(Dataset):
    def __init__(self, dataset: CachedSlices, view: int) -> None:
        self.dataset, self.number = dataset, view

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        return self.dataset.view(index, self.number)["image"]


def stages_of(network: nn.Module) -> list[nn.Module]:
    """The first layers of a network after any of which its `forward` can begin; none where it has no `stages`."""
    stages = getattr(network, "stages", None)
    return stages() if callable(stages) else []


def _hash_of_state(module: nn.Module) -> str:
    return hashlib.sha256(
        "".join(f"{name}{_hash(tensor)}" for name, tensor in module.state_dict().items()).encode()
    ).hexdigest()


def _source(kind: type) -> str:
    """Source code of a class's module: a layer's printed form does not determine what it computes."""
    try:
        return inspect.getsource(sys.modules[kind.__module__])
    except (OSError, TypeError, KeyError):
        return ""


def _hash(tensor: Tensor) -> str:
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(values.tobytes()).hexdigest()
