"""Reproducible image order and augmentation, regardless of interruptions and parallel workers."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from ignite import distributed as idist
from ignite.engine import Engine, Events
from monai.data import set_track_meta
from monai.data.utils import set_rnd
from monai.transforms import Compose
from monai.transforms.traits import RandomizableTrait
from monai.utils import set_determinism
from torch import nn
from torch.utils.data import Dataset, DistributedSampler

from monai_brain.transforms.load import refusal_behind

READ_THREADS = 4
"""Decoding releases Python's lock; more threads than cores hide the disk."""


def start(seed: int) -> None:
    """Set seeds, and use plain tensors instead of MetaTensors; comes first in every training `run:`."""
    set_determinism(seed)
    set_track_meta(False)


class CachedSlices(Dataset):
    """Slices whose deterministic transforms run once; their uint8 result stays in memory.

    The random transforms of a slice are seeded by (seed, epoch, index), not by what was drawn before:
    any number of workers, and a resumed run, get the same images.

    Args:
        data: items with `image` (path) and `label`.
        transform: everything, from the path to the network's input.
        num_cached: how many of its first transforms are deterministic and run once.
        seed: of the augmentation.

    Attributes:
        num_views: 0: every epoch augments a slice anew. Otherwise each slice has that many views, the same for
            every seed, and an epoch draws one of them. The first is the slice as it is, the others are augmented.
        features: what a network's first layers made of every view, instead of the images; see
            `training.features`.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Compose, num_cached: int, seed: int = 0) -> None:
        self.data = data
        self.first = Compose(transform.transforms[:num_cached])
        self.rest = Compose(transform.transforms[num_cached:])
        self.plain = Compose([t for t in self.rest.transforms if not isinstance(t, RandomizableTrait)])
        self.seed = seed
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.num_views = 0
        self.features: Sequence[torch.Tensor] | None = None
        self._cache: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        drawn = int(np.random.SeedSequence([self.seed, int(self.epoch), index]).generate_state(1)[0])
        if not self.num_views:
            return self._augmented(index, drawn)
        view = drawn % self.num_views
        if self.features is not None:
            return {"image": self.features[view][index], "label": self.data[index]["label"]}
        return self.view(index, view)

    def view(self, index: int, view: int) -> dict[str, Any]:
        """A slice's image and label as one of its views; view 0 is not augmented."""
        if view == 0:
            return self._finished(self.plain, index)
        return self._augmented(index, int(np.random.SeedSequence([view, index]).generate_state(1)[0]))

    def content_hash(self) -> str:
        """SHA-256 of every slice after its deterministic transforms, in order: files and transforms in one."""
        digest = hashlib.sha256()
        for item in self._filled():
            digest.update(f"{item['image'].shape}{item['image'].dtype}".encode())
            digest.update(np.ascontiguousarray(item["image"]).tobytes())
        return digest.hexdigest()

    def fill(self) -> None:
        """Run the deterministic transforms of every slice.

        Raises:
            ValueError: naming the first slice that cannot be read, and why.
        """
        with ThreadPoolExecutor(READ_THREADS) as pool:
            self._cache = list(pool.map(self._prepare, self.data))

    def _filled(self) -> list[dict[str, Any]]:
        if self._cache is None:
            self.fill()
        assert self._cache is not None
        return self._cache

    def _augmented(self, index: int, seed: int) -> dict[str, Any]:
        set_rnd(self.rest, seed)
        return self._finished(self.rest, index)

    def _finished(self, transform: Compose, index: int) -> dict[str, Any]:
        item = transform(dict(self._filled()[index]))
        label = item["label"]
        return {
            "image": torch.as_tensor(item["image"]),
            "label": label if isinstance(label, int) else torch.as_tensor(label),
        }

    def _prepare(self, item: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.first(dict(item))
        except Exception as error:
            refusal = refusal_behind(error)
            if refusal is None:
                raise
            has_mask = isinstance(item["label"], str)
            command = "index-pairs" if has_mask or refusal.code == "not_a_mask" else "index"
            raise ValueError(
                f"{item['image']}{' with ' + item['label'] if has_mask else ''}: {refusal} ({refusal.code}); "
                f"take it out, or make the datalist anew: monai-brain {command} leaves out what cannot be used, or "
                "says what is wrong"
            ) from None


class SeededEpochs:
    """A handler that makes each epoch depend on (seed, epoch) alone: dropout, shuffling and augmentation.

    Args:
        seed: of the training.
        dataset: its augmentation follows the trainer's epoch.
        sampler: its shuffling follows the trainer's epoch.
    """

    def __init__(self, seed: int, dataset: CachedSlices, sampler: DistributedSampler | None = None) -> None:
        self.seed = seed
        self.dataset = dataset
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed the epoch that begins."""
        epoch = engine.state.epoch
        own = [idist.get_rank()] if idist.get_rank() else []  # processes see other slices: other dropout too
        drawn = int(np.random.SeedSequence([self.seed, epoch, *own]).generate_state(1)[0])
        torch.manual_seed(drawn)
        np.random.seed(drawn % 2**32)  # noqa: NPY002  MONAI's transforms without a state of their own use it
        random.seed(drawn)
        self.dataset.epoch.fill_(epoch)
        if self.sampler is not None:
            self.sampler.set_epoch(epoch)


class SameBuffers:
    """A handler that gives every process the first one's buffers when an epoch ends; it must come before validation.

    DistributedDataParallel keeps parameters equal, and buffers (the statistics of batch norm) only until the
    step is done. With one process it does nothing.

    Args:
        network: not wrapped.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Listen to the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Send them."""
        if idist.get_world_size() > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)
