"""A small network that tells what a picture shows before any class is asked for."""

import torch
from torch import Tensor, nn

FEATURES = 32
"""That the last layer decides by; distances are measured in them."""


class InputCheckNet(nn.Module):
    """Five convolutions on a small picture; 0.09 million weights, about a millisecond on one core.

    Args:
        kinds: how many kinds of picture it tells apart.

    Attributes:
        center: mean of the features of what a classifier was trained for, (`FEATURES`,).
        whitening: (`FEATURES`, `FEATURES`); differences from the center times this have unit covariance.
        limits: the least probability of that kind, and the most distance from the center, for a class to be given.
    """

    center: Tensor
    whitening: Tensor
    limits: Tensor

    def __init__(self, kinds: int) -> None:
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
        self.register_buffer("center", torch.zeros(FEATURES))
        self.register_buffer("whitening", torch.eye(FEATURES))
        self.register_buffer("limits", torch.tensor([0.5, 10.0]))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the kinds (N, kinds), and distances from the center (N,), Mahalanobis' over the root of the number.

        Args:
            pictures: (N, 1, h, w), float32, 0 to about 1.
        """
        features = self.features(pictures)
        distances = ((features - self.center) @ self.whitening).norm(dim=1) / FEATURES**0.5
        return self.kind(features), distances

    def features(self, pictures: Tensor) -> Tensor:
        """What the last layer decides by, (N, `FEATURES`)."""
        maps = self.convolutions(pictures)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        return torch.relu(self.embedding(pooled))


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
