"""Equalize the scale of a network's features, so that eight bits suffice."""

import copy

import torch
from torch import Tensor, nn

from monai_brain.networks.unet_vgg16 import SKIPS, UNetVGG16

SMALLEST_RMS = 1e-6
"""Lower limit for the scale of a layer's features, so that dead ones are not divided by zero."""


def equalized(network: nn.Module, images: Tensor) -> nn.Module:
    """An equivalent network whose skip connections have the same scale as its decoder features.

    A decoder joins the encoder's skips with features of its own, which batch norm keeps near 1. Where weights were
    converted from Caffe's, skips reach thousands, and in eight bits with one scale for both the decoder's own features
    vanish. Convolutions, ReLU and maxima pass a positive factor on: here each layer of the encoder is divided by the
    root mean square of its features, and the layers that read it multiply.

    Args:
        network: in evaluation mode; it stays as it is.
        images: of its inputs, (N, C, H, W).

    Returns:
        A copy of a `UNetVGG16`; any other network itself.

    Source: M. Nagel and others, Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
    with one factor for each layer in place of one for each channel.
    """
    if not isinstance(network, UNetVGG16):
        return network
    network = copy.deepcopy(network)
    features = images.to(network.output.weight.device)
    rms, skips = 1.0, []
    with torch.no_grad():
        for index, layer in enumerate(network.features):
            if index in network.pools:
                skips.append(rms)
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(rms)  # what comes in was divided by it
                features = layer(features)
                rms = max(float(features.relu().square().mean().sqrt()), SMALLEST_RMS)
                for parameter in layer.parameters():
                    parameter.div_(rms)
                features = features / rms
            else:
                features = layer(features)
        for block, channels, skip in zip(network.decoder, SKIPS, reversed(skips), strict=True):
            weight = block.get_submodule("convs.conv_0.conv").get_parameter("weight")
            weight[:, :channels].mul_(skip)
            if block is network.decoder[0]:
                weight[:, channels:].mul_(rms)
    return network
