"""The same images in the same order with the same augmentation, whatever was stopped, resumed or parallel."""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import set_track_meta
from monai.data.utils import set_rnd
from monai.transforms import Compose
from monai.utils import set_determinism
from torch.utils.data import Dataset, DistributedSampler

from monai_brain.transforms.load import refusal_behind

READ_THREADS = 4
"""Decoding releases Python's lock; more threads than cores hide the disk."""


def start(seed: int) -> None:
    """What stands first in every `run:` that trains: seeds, and plain tensors instead of MetaTensors."""
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
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: Compose, num_cached: int, seed: int = 0) -> None:
        self.data = data
        self.first = Compose(transform.transforms[:num_cached])
        self.rest = Compose(transform.transforms[num_cached:])
        self.seed = seed
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._cache: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self._cache is None:
            self.fill()
        assert self._cache is not None
        drawn = np.random.SeedSequence([self.seed, int(self.epoch), index]).generate_state(1)[0]
        set_rnd(self.rest, int(drawn))
        item = self.rest(dict(self._cache[index]))
        return {"image": torch.as_tensor(item["image"]), "label": item["label"]}

    def fill(self) -> None:
        """Run the deterministic transforms of every slice.

        Raises:
            ValueError: naming the first slice that cannot be read, and why.
        """
        with ThreadPoolExecutor(READ_THREADS) as pool:
            self._cache = list(pool.map(self._prepare, self.data))

    def _prepare(self, item: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.first(dict(item))
        except Exception as error:
            refusal = refusal_behind(error)
            if refusal is None:
                raise
            raise ValueError(
                f"{item['image']}: {refusal} ({refusal.code}); take it out: monai-brain index leaves such files out"
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
        drawn = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        torch.manual_seed(drawn)
        np.random.seed(drawn % 2**32)  # noqa: NPY002  MONAI's transforms without a state of their own use it
        random.seed(drawn)
        self.dataset.epoch.fill_(epoch)
        if self.sampler is not None:
            self.sampler.set_epoch(epoch)
