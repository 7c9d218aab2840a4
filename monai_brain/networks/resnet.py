"""MONAI's ResNet50, arranged as torchvision's, with a dense head."""

from collections.abc import Sequence

from monai.networks.nets.resnet import ResNet, ResNetBottleneck
from torch import Tensor, nn

FEATURES = 2048
"""Channels of the last features."""


class ResNet50(ResNet):
    """ResNet50 for slices, with torchvision's keys up to the head.

    MONAI's network computes what torchvision's does only with these arguments: stride 2 in the first
    convolution, no biases in the shortcuts.

    Args:
        num_classes: length of the logits.
        widths: of the head's hidden layers, each with batch norm, ReLU and dropout; empty for a single dense layer.
        dropout: in the head.

    Source: K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    imagenet_url = "https://download.pytorch.org/models/resnet50-0676ba61.pth"

    def __init__(self, num_classes: int, widths: Sequence[int] = (512, 128), dropout: float = 0.4) -> None:
        super().__init__(
            block=ResNetBottleneck,
            layers=[3, 4, 6, 3],
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_size=7,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
        layers: list[nn.Module] = []
        before = FEATURES
        for width in widths:
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
            before = width
        self.fc = nn.Sequential(*layers, nn.Linear(before, num_classes))

    def stages(self) -> list[nn.Module]:
        """Layers that work one after the other on a single tensor; `forward` can begin after any of them."""
        layers = [self.layer1, self.layer2, self.layer3, self.layer4]
        return [self.conv1, self.bn1, self.act, self.maxpool, *layers, self.avgpool]

    def forward(self, image: Tensor, first: int = 0) -> Tensor:
        """Class logits.

        Args:
            image: MR slices, shape (N, 3, H, W), float32, ImageNet-normalized; H and W at least 32.
            first: the first of `stages` that is to run; `image` is then what the one before it left.

        Returns:
            Logits, shape (N, K).
        """
        features = image
        for stage in self.stages()[first:]:
            features = stage(features)
        return self.fc(features.flatten(1))
