"""Bring the features of weights with an unusual scale to what a new dense head can be trained on."""

import logging

import numpy as np
import torch
from torch import nn

from monai_brain.networks.vgg import VGG
from monai_brain.training.reproducibility import CachedSlices

logger = logging.getLogger(__name__)

LOOKS = 32
"""Training slices, evenly spread, that the scale is measured on."""

LARGEST_RMS = 10.0
"""Of the last features; those of torchvision's weights are near 1. Beyond it Adam's first steps on a dense head
are so large that its ReLUs die and every answer is the same."""


class NoScale(ValueError):
    """A network whose features cannot be scaled without changing what they say."""


def tame_features(network: nn.Module, slices: CachedSlices) -> float:
    """Divide all features by the root mean square of the last ones, if that is too large.

    Convolutions, ReLU and maxima pass a factor on: with the first convolution's weights and all biases divided by it,
    every feature of every layer is the same but for that factor, and later weights stay as they are.

    Args:
        network: a VGG without batch norm, with its starting weights.
        slices: of the training.

    Returns:
        The root mean square that was found.

    Raises:
        NoScale: the network is another.
    """
    normalized = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    if not isinstance(network, VGG) or normalized:
        raise NoScale(f"{type(network).__name__} is no VGG without batch norm; set tame_features: false")
    looks = np.unique(np.linspace(0, len(slices) - 1, LOOKS).round().astype(int))
    images = torch.stack([torch.as_tensor(slices.view(int(index), 0)["image"]) for index in looks])
    was_training = network.training
    with torch.no_grad():
        features = network.eval().features(images.to(next(network.parameters()).device))
        scale = float(features.float().square().mean().sqrt())
        network.train(was_training)
        if scale > LARGEST_RMS:
            convolutions = [module for module in network.features if isinstance(module, nn.Conv2d)]
            for parameter in (convolutions[0].weight, *(own.bias for own in convolutions)):
                assert parameter is not None  # VGG's convolutions have biases
                parameter.div_(scale)
            logger.warning(
                "the starting weights' features have a root mean square of %.0f; they are divided by it", scale
            )
    return scale
