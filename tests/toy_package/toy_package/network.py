"""A linear classifier of a slice's 4x4 means."""

from torch import Tensor, nn


class ToyNetwork(nn.Module):
    """Takes (N, 3, H, W), float32, and gives logits (N, K)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Linear(3 * 4 * 4, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Class logits."""
        return self.classifier(self.features(image).flatten(1))
