"""A network of dense layers on pixels: the baseline for every convolutional network."""

from collections.abc import Sequence

from torch import Tensor, nn

CHANNELS = 3


class ANN(nn.Module):
    """Flattened pixels through dense layers with ReLU.

    Args:
        num_classes: length of the logits.
        image_size: height and width of the slices in pixels.
        widths: of the hidden layers.
        batch_norm: after every hidden layer.
        dropouts: after each hidden layer, in [0, 1).

    Raises:
        ValueError: `dropouts` is neither empty nor as long as `widths`.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 64,
        widths: Sequence[int] = (256, 128),
        batch_norm: bool = False,
        dropouts: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if dropouts and len(dropouts) != len(widths):
            raise ValueError(f"{len(dropouts)} dropouts for {len(widths)} hidden layers; give one for each, or none")
        layers: list[nn.Module] = []
        before = CHANNELS * image_size**2
        for number, width in enumerate(widths):
            layers.append(nn.Linear(before, width))
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(dropouts[number])] if dropouts else []
            before = width
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Class logits.

        Args:
            image: MR slices, shape (N, 3, H, W), float32 in [0, 1].

        Returns:
            Logits, shape (N, K).
        """
        return self.classifier(self.hidden(image.flatten(1)))
