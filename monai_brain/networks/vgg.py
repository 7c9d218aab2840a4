"""VGG with torchvision's keys, for its public ImageNet weights, and three heads."""

from torch import Tensor, nn

CONFIGURATIONS = {
    11: (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"),
    16: (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
}
"""Channels of the 3x3 convolutions; M is a max-pooling by 2. Configurations A and D of the paper."""

IMAGENET_URLS = {
    (11, False): "https://download.pytorch.org/models/vgg11-8a719046.pth",
    (11, True): "https://download.pytorch.org/models/vgg11_bn-6002323d.pth",
    (16, False): "https://download.pytorch.org/models/vgg16-397923af.pth",
    (16, True): "https://download.pytorch.org/models/vgg16_bn-6c64b313.pth",
}
"""torchvision's IMAGENET1K_V1 files by depth and batch norm; the end of each name begins the file's SHA-256."""

POOLED_SIZE = 7
"""Height and width of the features that the dense heads take: an input of 224 leaves just that."""

FEATURES = 512
"""Channels of the last features."""


def torchvision_head(num_classes: int) -> nn.Sequential:
    """torchvision's classifier, (N, 25088) to (N, K)."""
    return nn.Sequential(
        nn.Linear(FEATURES * POOLED_SIZE**2, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, num_classes),
    )


def small_head(num_classes: int) -> nn.Sequential:
    """Two narrow dense layers, (N, 25088) to (N, K)."""
    return nn.Sequential(
        nn.Linear(FEATURES * POOLED_SIZE**2, 1024),
        nn.ReLU(),
        nn.Dropout(0.4),
        nn.Linear(1024, 256),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, num_classes),
    )


def pooled_head(num_classes: int) -> nn.Sequential:
    """One dense layer on the mean of each feature, (N, 512) to (N, K).

    The means are normalized first: public weights differ in the scale of their last features by hundreds.
    """
    return nn.Sequential(nn.LayerNorm(FEATURES), nn.Dropout(0.4), nn.Linear(FEATURES, num_classes))


HEADS = {"torchvision": torchvision_head, "small": small_head, "pooled": pooled_head}


class VGG(nn.Module):
    """VGG for slices.

    Args:
        depth: 11 or 16.
        num_classes: length of the logits.
        head: `torchvision` (25088-4096-4096-K), `small` (25088-1024-256-K, dropout .4 and .3) or `pooled`
            (mean over the image, then 512-K).
        batch_norm: after every convolution.

    Raises:
        ValueError: the depth or head is unknown.

    Source: K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014.
    """

    def __init__(self, depth: int, num_classes: int, head: str = "torchvision", batch_norm: bool = False) -> None:
        super().__init__()
        if depth not in CONFIGURATIONS:
            raise ValueError(f"depth {depth} is not one of {', '.join(map(str, CONFIGURATIONS))}")
        if head not in HEADS:
            raise ValueError(f"head {head!r} is not one of {', '.join(HEADS)}")
        self.imagenet_url = IMAGENET_URLS[depth, batch_norm]
        self.features = _features(depth, batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(1 if head == "pooled" else POOLED_SIZE)
        self.classifier = HEADS[head](num_classes)

    def stages(self) -> list[nn.Module]:
        """Sequential layers on a single tensor; `forward` can start after any of them."""
        return list(self.features)

    def forward(self, image: Tensor, first: int = 0) -> Tensor:
        """Class logits.

        Args:
            image: MR slices, shape (N, 3, H, W), float32, ImageNet-normalized; H and W at least 32.
            first: the first of `stages` to run; `image` is then the output of the stage before it.

        Returns:
            Logits, shape (N, K).
        """
        return self.classifier(self.avgpool(self.features[first:](image)).flatten(1))


def _features(depth: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in CONFIGURATIONS[depth]:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
        layers += [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)
