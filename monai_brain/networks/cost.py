"""Cost of a network in operations, counted rather than timed."""

from collections.abc import Mapping
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def build_without_weights(network_def: Mapping[str, Any]) -> nn.Module:
    """A run's recorded network on the meta device, which has shapes but no memory.

    Args:
        network_def: plain data with `_target_`, from `io.settings.read`, which has checked it.
    """
    with torch.device("meta"):
        return ConfigParser({"network": dict(network_def)}).get_parsed_content("network").eval()


def multiply_adds(network: nn.Module, image_size: int) -> float:
    """Multiplications with addition that one slice takes, in 1e9 (GMAC): convolutions and dense layers.

    Args:
        network: on the meta device.
        image_size: height and width in pixels.
    """
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops() / 2 / 1e9
