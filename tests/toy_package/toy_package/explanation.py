"""Where a slice is bright: what every other explanation should be better than."""

from torch import Tensor, nn

from monai_brain.explain.base import Explainer, scaled_to_own_maximum
from monai_brain.explain.methods import Method


class Brightness(Explainer):
    """The image itself, whatever the network says."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """See `Explainer`."""
        return scaled_to_own_maximum(images.mean(dim=1, keepdim=True))


METHOD = Method("Brightness", Brightness)
