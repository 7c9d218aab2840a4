"""The small convolutional network that is trained from scratch."""

from collections.abc import Sequence

from torch import Tensor, nn


class CNN(nn.Module):
    """Blocks of convolution, batch norm, ReLU and max-pooling; then a dense head.

    Args:
        num_classes: length of the logits.
        image_size: height and width of the input in pixels; divisible by 2 to the number of blocks.
        in_channels: of the input.
        widths: channels of each block.
        pooled_size: height and width that the last features are averaged to before the dense head; divides
            what the blocks leave.
        hidden: width of the dense layer.
        dropout: before and after the dense layer, in training.
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int = 128,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        pooled_size: int = 4,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        shrink = 2 ** len(widths)
        if image_size % shrink:
            raise ValueError(
                f"image_size {image_size} is not divisible by {shrink}; {len(widths)} blocks halve it each"
            )
        side = image_size // shrink
        if side % pooled_size:
            raise ValueError(f"pooled_size {pooled_size} does not divide {side}, the blocks' output; give a divisor")
        blocks: list[nn.Module] = []
        for before, after in zip((in_channels, *widths[:-1]), widths, strict=True):
            blocks += [
                nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.AvgPool2d(side // pooled_size),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * pooled_size**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Class logits.

        Args:
            image: normalized MR slices, shape (N, in_channels, image_size, image_size), float32.

        Returns:
            Logits, shape (N, num_classes).
        """
        return self.classifier(self.features(image))
