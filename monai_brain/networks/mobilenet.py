"""MobileNetV2 with torchvision's keys."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repetitions and first stride of the inverted residuals: table 2 of the paper."""

FIRST, LAST = 32, 1280
"""Channels of the first and the last convolution."""

PADDINGS = ("symmetric", "same")


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1.

    Two families of public weights fit it: torchvision's (`batch_norm_eps` 1e-5, `padding` symmetric) and those
    converted from Keras (1e-3, same: at stride 2, zeros at the right and the bottom only).

    Args:
        num_classes: length of the logits.
        batch_norm_eps: added to the variance in batch norm.
        padding: `symmetric` or `same`, at stride 2.
        dropout: before the last layer.
        mirrored: outside of training, average the logits of a slice and of its mirror image. A head is nearly
            symmetric, so both are plausible inputs; this takes twice the time.

    Raises:
        ValueError: the padding is unknown.

    Source: M. Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
    """

    imagenet_url = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"

    def __init__(
        self,
        num_classes: int,
        batch_norm_eps: float = 1e-5,
        padding: str = "symmetric",
        dropout: float = 0.2,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"padding {padding!r} is not one of {', '.join(PADDINGS)}")
        options: dict[str, Any] = {"eps": batch_norm_eps, "same": padding == "same"}
        layers: list[nn.Module] = [_convolution(3, FIRST, kernel=3, stride=2, **options)]
        channels = FIRST
        for expansion, width, repetitions, first_stride in BLOCKS:
            for number in range(repetitions):
                stride = first_stride if number == 0 else 1
                layers.append(InvertedResidual(channels, width, stride, expansion, **options))
                channels = width
        layers.append(_convolution(channels, LAST, kernel=1, **options))
        self.mirrored = mirrored
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(LAST, num_classes))

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
        logits = self._logits(image, first)
        if self.mirrored and not self.training and first == 0:
            logits = (logits + self._logits(image.flip(-1))) / 2
        return logits

    def _logits(self, image: Tensor, first: int = 0) -> Tensor:
        return self.classifier(self.features[first:](image).mean(dim=(2, 3)))


class InvertedResidual(nn.Module):
    """Expand by a 1x1 convolution, filter each channel by a 3x3 one, project; with a shortcut where shapes allow."""

    def __init__(self, channels: int, width: int, stride: int, expansion: int, *, eps: float, same: bool) -> None:
        super().__init__()
        hidden = channels * expansion
        expand = [] if expansion == 1 else [_convolution(channels, hidden, kernel=1, eps=eps, same=same)]
        self.conv = nn.Sequential(
            *expand,
            _convolution(hidden, hidden, kernel=3, stride=stride, groups=hidden, eps=eps, same=same),
            nn.Conv2d(hidden, width, kernel_size=1, bias=False),
            nn.BatchNorm2d(width, eps=eps),
        )
        self.has_shortcut = stride == 1 and channels == width

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, D, h / stride, w / stride)."""
        found = self.conv(features)
        return features + found if self.has_shortcut else found


class _SameConv2d(nn.Conv2d):
    """Keras's "same" padding of a 3x3 convolution with stride 2 on an even size."""

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[-2:]
        return super().forward(F.pad(input, (1 - (width + 1) % 2, 1, 1 - (height + 1) % 2, 1)))


def _convolution(
    channels: int, width: int, *, kernel: int, stride: int = 1, groups: int = 1, eps: float, same: bool
) -> nn.Sequential:
    options: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "groups": groups, "bias": False}
    if same and stride == 2:
        convolution: nn.Conv2d = _SameConv2d(channels, width, padding=0, **options)
    else:
        convolution = nn.Conv2d(channels, width, padding=kernel // 2, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(width, eps=eps), nn.ReLU6())
