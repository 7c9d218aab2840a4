"""VGG whose features are weighted by its own attention map before the head."""

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional as F

from monai_brain.networks.vgg import FEATURES, VGG

WIDTH = 64
"""Channels inside the refinement: it adds 0.3 million weights to VGG16's 14.7."""


class SpatialRefinement(nn.Module):
    """A small U-Net that computes an attention map from two levels of features.

    Both levels are squeezed to a few channels, go down one level and up again with a skip, and end in one
    channel between 0 and 1. It is trained by the class labels alone.

    Args:
        shallow: channels of the earlier features.
        deep: channels of the later ones, of the same height and width.

    Source: O. Ronneberger et al., U-Net, MICCAI 2015, for the shape; J. Park et al., BAM, BMVC 2018, for
    features times (1 + map).
    """

    def __init__(self, shallow: int = FEATURES, deep: int = FEATURES) -> None:
        super().__init__()
        # normalized each, since the scales of the two can differ by hundreds
        self.squeeze_shallow = _convolution(shallow, WIDTH, kernel_size=1)
        self.squeeze_deep = _convolution(deep, WIDTH, kernel_size=1)
        self.encode = _convolution(2 * WIDTH, WIDTH)
        self.bottom = _convolution(WIDTH, 2 * WIDTH)
        self.decode = _convolution(3 * WIDTH, WIDTH)
        self.score = nn.Conv2d(WIDTH, 1, kernel_size=1)
        for parameter in self.score.parameters():  # the map begins as 1/2 everywhere: training begins with plain VGG
            nn.init.zeros_(parameter)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """The attention map.

        Args:
            shallow: (N, C, h, w).
            deep: (N, D, h, w).

        Returns:
            (N, 1, h, w) in [0, 1].
        """
        skip = self.encode(torch.cat([self.squeeze_shallow(shallow), self.squeeze_deep(deep)], dim=1))
        bottom = self.bottom(F.max_pool2d(skip, 2, ceil_mode=True))
        up = F.interpolate(bottom, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(self.score(self.decode(torch.cat([skip, up], dim=1))))


class RefinedVGG(VGG):
    """VGG with U-Net-assisted spatial refinement.

    The last block's features are multiplied by (1 + map) before the last pooling. The map is computed from the
    features of the last two blocks, both at 1/16 of the image's height and width.

    Args:
        depth: 11 or 16.
        num_classes: length of the logits.
        head: as `VGG`.
        batch_norm: as `VGG`.
    """

    def __init__(self, depth: int, num_classes: int, head: str = "pooled", batch_norm: bool = False) -> None:
        super().__init__(depth, num_classes, head, batch_norm)
        pools = [index for index, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        self.last_block = pools[-2] + 1
        self.refinement = SpatialRefinement()

    def stages(self) -> list[nn.Module]:
        """As `VGG.stages`, but the last block's, whose input the refinement needs as well."""
        return super().stages()[: self.last_block]

    def forward(self, image: Tensor, first: int = 0) -> Tensor:
        """As `VGG.forward`."""
        return self.with_attention(image, first)[0]

    def with_attention(self, image: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Class logits, and the attention map used to compute them.

        Args:
            image: MR slices, shape (N, 3, H, W), float32, ImageNet-normalized; H and W at least 32.
            first: the first of `stages` to run; `image` is then the output of the stage before it.

        Returns:
            Logits, shape (N, K); and the map, shape (N, 1, H / 16, W / 16), in [0, 1].
        """
        shallow = self.features[first : self.last_block](image)
        deep = self.features[self.last_block : -1](shallow)
        attention = self.refinement(shallow, deep)
        refined = self.features[-1](deep * (1 + attention))
        return self.classifier(self.avgpool(refined).flatten(1)), attention


def _convolution(channels_in: int, channels_out: int, kernel_size: int = 3) -> Convolution:
    return Convolution(2, channels_in, channels_out, kernel_size=kernel_size, act="RELU", norm="BATCH", bias=False)
