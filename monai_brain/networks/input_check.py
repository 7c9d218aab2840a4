"""A small network that tells what a picture shows before any class is asked for."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES = 32
"""That the kind is decided by; distances are measured in them."""

CELLS = 4
"""Along each side, for what depends on where things are: plane and skull."""


class Outputs(NamedTuple):
    """Of `InputCheckNet`."""

    kinds: Tensor
    """Logits, (N, kinds)."""
    planes: Tensor
    """Logits, (N, planes)."""
    skull_stripped: Tensor
    """Logits, (N,)."""
    distances: Tensor
    """From the center, (N,), Mahalanobis' over the root of `FEATURES`."""


class InputCheckNet(nn.Module):
    """Five convolutions on a small picture; 0.09 million weights, a few milliseconds on one core.

    Args:
        kinds: how many kinds of picture it tells apart.
        planes: how many planes of a head.

    Attributes:
        center: mean of the features of what a classifier was trained for, (`FEATURES`,).
        whitening: (`FEATURES`, `FEATURES`); differences from the center times this have unit covariance.
        limits: the least probability of that kind, and the most distance from the center, for a class to be given.
    """

    center: Tensor
    whitening: Tensor
    limits: Tensor

    def __init__(self, kinds: int, planes: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            _convolution(1, 16, 2),
            _convolution(16, 32, 2),
            _convolution(32, 48, 2),
            _convolution(48, 64, 2),
            _convolution(64, 64, 1),
        )
        self.embedding = nn.Linear(2 * 64, FEATURES)
        self.kind = nn.Linear(FEATURES, kinds)
        self.plane = nn.Linear(64 * CELLS**2, planes)
        self.skull_stripped = nn.Linear(64 * CELLS**2, 1)
        self.register_buffer("center", torch.zeros(FEATURES))
        self.register_buffer("whitening", torch.eye(FEATURES))
        self.register_buffer("limits", torch.tensor([0.5, 10.0]))

    def forward(self, pictures: Tensor) -> Outputs:
        """Logits, and distances from the center.

        Args:
            pictures: (N, 1, h, w), float32, 0 to about 1.
        """
        maps = self.convolutions(pictures)
        features, layout = self._features(maps), self._layout(maps)
        distances = ((features - self.center) @ self.whitening).norm(dim=1) / FEATURES**0.5
        return Outputs(self.kind(features), self.plane(layout), self.skull_stripped(layout)[:, 0], distances)

    def features(self, pictures: Tensor) -> Tensor:
        """What the kind is decided by, (N, `FEATURES`)."""
        return self._features(self.convolutions(pictures))

    def layout(self, pictures: Tensor) -> Tensor:
        """What plane and skull are decided by: means over `CELLS` x `CELLS` parts of the picture, (N, 1024)."""
        return self._layout(self.convolutions(pictures))

    def _features(self, maps: Tensor) -> Tensor:
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return torch.relu(self.embedding(pooled))

    def _layout(self, maps: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(maps, CELLS).flatten(1)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
