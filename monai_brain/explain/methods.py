"""Explanation methods behind one interface: images and targets in, maps out."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import torch
from monai.utils import convert_to_tensor
from monai.visualize import GradCAM, GradCAMpp, OcclusionSensitivity
from torch import Tensor, nn
from torch.nn import functional as F

from monai_brain.explain.cam import GradCAMExplainer, HiResCAM, scaled_to_own_maximum

METHODS = ("gradcam", "gradcam++", "hirescam", "occlusion", "attention")

MASK_METHODS = ("gradcam", "gradcam++", "hirescam")
"""Methods that can also explain a segmenter's mask."""

VARIANTS = {"gradcam": GradCAM, "gradcam++": GradCAMpp, "hirescam": HiResCAM}

OCCLUDED_SHARE = 0.2
"""Of the image's side: what is covered at once, about a tumor's width."""

OVERLAP = 0.5
"""Of neighboring covers: 81 to 100 looks at an image."""


class UnknownMethod(ValueError):
    """An unknown method, or one that cannot explain this network."""


class Explainer(ABC):
    """A context manager that leaves the network as it was."""

    @abstractmethod
    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Maps of a batch.

        Args:
            images: normalized slices, (N, C, H, W).
            targets: class index to explain, per sample, (N,); of a segmenter masks, bool, of the shape of its logits,
                (N, K, H, W): those that it found, or others.

        Returns:
            (N, 1, H, W), float32 in [0, 1]; 1 is the strongest evidence of that image, all 0 means none.
        """

    def close(self) -> None:  # noqa: B027
        """Remove all hooks from the network."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def make_explainer(method: str, network: nn.Module, layer: str | None = None, *, segmenter: bool = False) -> Explainer:
    """An explainer of a classifier, or of a segmenter.

    Args:
        method: of `METHODS`, of a segmenter of `MASK_METHODS`.
        network: of 2D slices.
        layer: to explain at, for all methods but occlusion and attention.
        segmenter: masks are explained, not classes.

    Raises:
        UnknownMethod: there is no such method, or the network has no layer or no attention map for it.
        NoSuchLayer: see `explain.cam`.
    """
    if method not in METHODS:
        raise UnknownMethod(f"method {method!r} is not one of {', '.join(METHODS)}")
    if segmenter and method not in MASK_METHODS:
        raise UnknownMethod(f"{method} explains classes only; of a segmenter's mask try {' or '.join(MASK_METHODS)}")
    if method == "occlusion":
        return Occlusion(network)
    if method == "attention":
        return AttentionMap(network)
    if layer is None:
        raise UnknownMethod(f"{method} needs a convolutional layer, and none is named; try occlusion")
    return CAM(network, layer, VARIANTS[method], segmenter=segmenter)


class CAM(Explainer):
    """Grad-CAM, Grad-CAM++ or HiResCAM; see `explain.cam`."""

    def __init__(self, network: nn.Module, layer: str, variant: type[GradCAM], segmenter: bool = False) -> None:
        self.maps = GradCAMExplainer(network, layer, variant, segmenter)

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """See `Explainer`."""
        return self.maps(images, targets)

    def close(self) -> None:
        """See `Explainer`."""
        self.maps.close()


class Occlusion(Explainer):
    """By how much the class's probability falls where the image is covered, MONAI's occlusion sensitivity.

    Source: M. Zeiler, R. Fergus, Visualizing and understanding convolutional networks, ECCV 2014.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """See `Explainer`; about a hundred looks at each image."""
        with torch.no_grad():
            maps = [self._map(image[None], label) for image, label in zip(images, targets.tolist(), strict=True)]
        return scaled_to_own_maximum(torch.cat(maps))

    def _map(self, image: Tensor, label: int) -> Tensor:
        side = max(4, round(OCCLUDED_SHARE * min(image.shape[-2:])))
        look = OcclusionSensitivity(self.network, side, n_batch=32, verbose=False, overlap=OVERLAP, mode="gaussian")
        covered = convert_to_tensor(look(image)[0], track_meta=False)[:, label][:, None].float()
        return torch.softmax(self._logits(image), dim=1)[:, label] - covered

    def _logits(self, images: Tensor) -> Tensor:
        was_training = self.network.training
        logits = self.network.eval()(images)
        self.network.train(was_training)
        return logits


class AttentionMap(Explainer):
    """The attention map of a network with spatial refinement; the same for every class."""

    def __init__(self, network: nn.Module) -> None:
        if not hasattr(network, "with_attention"):
            raise UnknownMethod(f"{type(network).__name__} makes no attention map; only networks with refinement do")
        self.network = network

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """See `Explainer`; the map as it is, not scaled to its own maximum."""
        with torch.no_grad():
            was_training = self.network.training
            _, attention = self.network.eval().with_attention(images)  # type: ignore[operator]
            self.network.train(was_training)
        return F.interpolate(attention.float(), size=images.shape[-2:], mode="bilinear", align_corners=False)
