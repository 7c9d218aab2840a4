"""Torch itself, on any device."""

from typing import Any

from torch import Tensor

from monai_brain.inference.engines.base import Engine
from monai_brain.networks.autocast import AutocastInferer


class TorchEngine(Engine):
    """The network as it is, channels last; see `networks.autocast`."""

    name = "torch"
    precisions = ("fp32", "bf16")

    def __init__(self, precision: str = "fp32") -> None:
        super().__init__(precision)
        self.inferer = AutocastInferer(precision)

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """See `Engine`."""
        return self.inferer(inputs, network)
