"""What every way to explain a network has in common: images and what is asked of them in, maps out."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import torch
from torch import Tensor


class Explainer(ABC):
    """A context manager that leaves the network as it was."""

    @abstractmethod
    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Maps of a batch.

        Args:
            images: normalized slices, (N, C, H, W).
            targets: class index to explain, per sample, (N,); of a segmenter masks, bool, of the shape of its logits,
                (N, K, H, W): those that it found, or others.

        Returns:
            (N, 1, H, W), float32 in [0, 1]; 1 is the strongest evidence of that image, all 0 means none.
        """

    def close(self) -> None:  # noqa: B027
        """Take everything off the network that was put on it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def scaled_to_own_maximum(maps: Tensor) -> Tensor:
    """Each (1, H, W) map of a batch divided by its own maximum; negative values are no evidence and become 0."""
    maps = maps.clamp(min=0)
    highest = maps.flatten(1).amax(dim=1).clamp(min=torch.finfo(maps.dtype).tiny)
    return maps / highest[:, None, None, None]
