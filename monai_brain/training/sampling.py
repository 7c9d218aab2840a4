"""Samplers: the slices shown in an epoch."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, DistributedSampler


class BalancedSlices(DistributedSampler):
    """As many slices with tumor as without, drawn anew for every epoch, by (seed, epoch) alone.

    An epoch is as long as the data set. All slices of the rarer kind are shown about equally often; of the more
    frequent kind, each epoch shows a different selection.

    Args:
        dataset: what is trained on.
        items: its items, with `tumor_pixels`.
        share: of slices with tumor.
        options: of `torch.utils.data.DistributedSampler`.

    Raises:
        ValueError: there is only one kind.
    """

    def __init__(
        self, dataset: Dataset, items: Sequence[Mapping[str, Any]], share: float = 0.5, **options: Any
    ) -> None:
        super().__init__(dataset, **options)
        has_tumor = np.array([item["tumor_pixels"] > 0 for item in items])
        self.positive, self.empty = np.flatnonzero(has_tumor), np.flatnonzero(~has_tumor)
        self.share = share
        if not (len(self.positive) and len(self.empty)):
            raise ValueError("all slices have tumor, or none has: they cannot be balanced; use a plain sampler")

    def __iter__(self) -> Iterator[int]:
        """This process's part of the epoch."""
        random = np.random.default_rng(np.random.SeedSequence([self.seed, self.epoch]))
        wanted = round(self.share * self.total_size)
        drawn = np.concatenate(
            [_draw(self.positive, wanted, random), _draw(self.empty, self.total_size - wanted, random)]
        )
        return iter(random.permutation(drawn)[self.rank : self.total_size : self.num_replicas].tolist())


class BalancedSources(DistributedSampler):
    """Draw classes equally often and, within a class, sources by the square root of their size.

    Without it, a data set that dominates one class teaches the network to recognize data sets instead of classes. Drawn
    anew for every epoch, by (seed, epoch) alone.

    Args:
        dataset: what is trained on.
        items: its items, with `label` and, where it is known, `source`.
        slices_per_epoch: of all processes together; None: as many as there are.
        options: of `torch.utils.data.DistributedSampler`.
    """

    def __init__(
        self,
        dataset: Dataset,
        items: Sequence[Mapping[str, Any]],
        slices_per_epoch: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dataset, **options)
        per_process = -(-(slices_per_epoch or len(items)) // self.num_replicas)
        self.num_samples, self.total_size = per_process, per_process * self.num_replicas
        cells = defaultdict(list)
        for index, item in enumerate(items):
            cells[int(item["label"]), item.get("source")].append(index)
        roots_of_class: dict[int, float] = defaultdict(float)
        for (label, _), own in cells.items():
            roots_of_class[label] += math.sqrt(len(own))
        self.cells = [
            (np.array(own), math.sqrt(len(own)) / roots_of_class[label] / len(roots_of_class))
            for (label, _), own in cells.items()
        ]

    def __iter__(self) -> Iterator[int]:
        """This process's part of the epoch."""
        random = np.random.default_rng(np.random.SeedSequence([self.seed, self.epoch]))
        ends = np.rint(np.cumsum([share for _, share in self.cells]) * self.total_size).astype(int)
        counts = np.diff(ends, prepend=0)
        drawn = np.concatenate([_draw(own, count, random) for (own, _), count in zip(self.cells, counts, strict=True)])
        return iter(random.permutation(drawn)[self.rank : self.total_size : self.num_replicas].tolist())


def _draw(indices: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` of them, each as often as the others but for one."""
    rounds = -(-count // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:count] if count else indices[:0]
