"""A small network that tells what a picture shows before any class is asked for."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES = 32
"""That the kind is decided by; distances are measured in them."""

CELLS = 4
"""Along each side, for what depends on where things are: plane and skull."""


SMALLER = 0.9
"""Size of a second view; on validation slices, two sizes tell T1 with and without contrast apart better than one."""


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
        """Logits, and distances from the center; in evaluation, kinds and distances are means over four views.

        Args:
            pictures: (N, 1, h, w), float32, 0 to about 1.
        """
        maps = self.convolutions(pictures if self.training else _views(pictures))
        features, layout = self._features(maps), self._layout(maps[: len(pictures)])
        distances = ((features - self.center) @ self.whitening).norm(dim=1) / FEATURES**0.5
        kinds, distances = (
            own.unflatten(0, (-1, len(pictures))).mean(dim=0) for own in (self.kind(features), distances)
        )
        return Outputs(kinds, self.plane(layout), self.skull_stripped(layout)[:, 0], distances)

    def fuse(self) -> None:
        """Merge each batch norm into its convolution, for speed; the network must be in evaluation mode."""
        pairs = [(own[0], own[1]) for own in self.convolutions.children() if isinstance(own, nn.Sequential)]
        fused = [fuse_conv_bn_eval(cast(nn.Conv2d, own), cast(nn.BatchNorm2d, norm)) for own, norm in pairs]
        self.convolutions = nn.Sequential(*(nn.Sequential(own, nn.ReLU(inplace=True)) for own in fused))
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

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


def _views(pictures: Tensor) -> Tensor:
    """Pictures, the same at `SMALLER` size, and both mirrored: (4 N, 1, h, w)."""
    matrix = torch.tensor([[1 / SMALLER, 0, 0], [0, 1 / SMALLER, 0]]).expand(len(pictures), -1, -1)
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    both = torch.cat([pictures, functional.grid_sample(pictures, grid, align_corners=False)])
    return torch.cat([both, both.flip(3)])


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
