"""A U-Net whose encoder is VGG16 with torchvision's keys."""

from collections.abc import Sequence

from monai.networks.nets.basic_unet import UpCat
from torch import Tensor, nn
from torch.nn import functional as F

from monai_brain.networks.vgg import IMAGENET_URLS, VGG

SKIPS = (512, 256, 128, 64)
"""Channels of the encoder's skips, from 1/8 of the image's size up to all of it."""

LEAN = (256, 128, 64, 32)
"""Widths of the decoder by default: 18.6 million weights and 32 GMAC at 256x256; (512, 256, 128, 64) takes 56."""

DIVISOR = 16
"""The encoder halves height and width four times."""


class UNetVGG16(nn.Module):
    """U-Net with a VGG16 encoder and a decoder of double convolutions, with skips at every resolution.

    Inputs whose sides are not divisible by 16 are padded at the right and the bottom, and the output is
    cropped to the input's size.

    Args:
        num_classes: channels of the output.
        widths: channels of the four decoder blocks, from the deepest up.

    Source: O. Ronneberger et al., U-Net, MICCAI 2015; V. Iglovikov, A. Shvets, TernausNet, 2018, for the encoder
    with ImageNet weights.
    """

    imagenet_url = IMAGENET_URLS[16, False]

    def __init__(self, num_classes: int = 1, widths: Sequence[int] = LEAN) -> None:
        super().__init__()
        if len(widths) != len(SKIPS):
            raise ValueError(f"{len(widths)} widths; the decoder has {len(SKIPS)} blocks, give one for each")
        encoder = VGG(16, num_classes=1, head="pooled").stages()
        self.features = nn.Sequential(*encoder[:-1])  # the output of the last pooling is not used
        self.pools = [index for index, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        befores = [512, *widths[:-1]]
        self.decoder = nn.ModuleList(
            UpCat(
                2,
                before,
                skip,
                width,
                act="RELU",
                norm="BATCH",
                bias=False,
                dropout=0.0,
                upsample="nontrainable",
                halves=False,
                is_pad=False,  # sides are divisible, and padding by nothing takes autocast back to float32
            )
            for before, skip, width in zip(befores, SKIPS, widths, strict=True)
        )
        self.output = nn.Conv2d(widths[-1], num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each pixel.

        Args:
            image: MR slices, shape (N, 3, H, W), float32, ImageNet-normalized.

        Returns:
            Logits, shape (N, K, H, W).
        """
        height, width = image.shape[-2:]
        features = F.pad(image, (0, -width % DIVISOR, 0, -height % DIVISOR))
        skips = []
        for index, layer in enumerate(self.features):
            if index in self.pools:
                skips.append(features)
            features = layer(features)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            features = block(features, skip)
        return self.output(features)[..., :height, :width]
