"""Every way to explain a network: one entry each."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from monai.utils import convert_to_tensor
from monai.visualize import GradCAMpp, OcclusionSensitivity
from torch import Tensor, nn
from torch.nn import functional as F

from monai_brain.explain.base import Explainer, scaled_to_own_maximum
from monai_brain.explain.cam import GradCAMExplainer
from monai_brain.extensions import Registry

OCCLUDED_SHARE = 0.2
"""Of the image's side: what is covered at once, about a tumor's width."""

OVERLAP = 0.5
"""Of neighboring covers: 81 to 100 looks at an image."""


class UnknownMethod(ValueError):
    """An unknown method, or one that cannot explain this network."""


class Method(NamedTuple):
    """How a way to explain networks is called, and how it is begun."""

    title: str
    """For people."""
    make: Callable[..., Explainer]
    """An explainer of a network; one that looks at a layer takes its name as well, and the keyword `segmenter`."""
    needs_layer: bool = False
    """Whether it looks at a layer."""
    of_masks: bool = False
    """Whether it explains a segmenter's masks too."""


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


GradCAMPlusPlus = partial(GradCAMExplainer, variant=GradCAMpp)

METHODS = Registry(
    "explanations",
    Method,
    {
        "gradcam": Method("Grad-CAM", GradCAMExplainer, needs_layer=True, of_masks=True),
        "gradcam++": Method("Grad-CAM++", GradCAMPlusPlus, needs_layer=True, of_masks=True),
        "occlusion": Method("Occlusion", Occlusion),
        "attention": Method("Attention", AttentionMap),
    },
)
"""What `method` may name."""


def make_explainer(method: str, network: nn.Module, layer: str | None = None, *, segmenter: bool = False) -> Explainer:
    """An explainer of a classifier, or of a segmenter.

    Args:
        method: of `METHODS`, of a segmenter of `mask_methods()`.
        network: of 2D slices.
        layer: that methods look at which need one.
        segmenter: masks are explained, not classes.

    Raises:
        UnknownMethod: there is no such method, or the network has no layer or no attention map for it.
        NoSuchLayer: see `explain.cam`.
    """
    if method not in METHODS:
        raise UnknownMethod(f"method {method!r} is not one of {', '.join(METHODS)}")
    chosen = METHODS[method]
    if segmenter and not chosen.of_masks:
        raise UnknownMethod(f"{method} explains classes only; of a segmenter's mask try {' or '.join(mask_methods())}")
    if not chosen.needs_layer:
        return chosen.make(network)
    if layer is None:
        raise UnknownMethod(f"{method} needs a convolution to look at, and none is named; try occlusion")
    return chosen.make(network, layer, segmenter=segmenter)


def mask_methods() -> list[str]:
    """Those of `METHODS` that explain a segmenter's masks."""
    return [name for name, own in METHODS.items() if own.of_masks]
