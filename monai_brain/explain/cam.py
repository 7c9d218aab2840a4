"""Grad-CAM and Grad-CAM++ on `monai.visualize`, with its traps handled: polarity, batches, frozen networks, hooks."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from monai.visualize import GradCAM
from monai.visualize.class_activation_maps import ModelWithHooks
from torch import Tensor, nn

from monai_brain.explain.base import Explainer, scaled_to_own_maximum


class NoSuchLayer(ValueError):
    """The network has no layer of this name; the message suggests others."""


class MaskMismatch(ValueError):
    """A mask of another shape than the network's logits, which would mix the samples of a batch."""


class GradCAMExplainer(Explainer):
    """Maps of where a network found the evidence for a class, or for a mask; once closed, no hook is left.

    Args:
        network: classifier or segmenter; put into eval mode while it explains.
        layer: dotted name of the convolutional layer to look at, such as `features.11`.
        variant: MONAI's `GradCAM`, or its `GradCAMpp`, which weighs the places of a layer too.
        segmenter: the network gives logits of pixels; the score is their sum over a mask.

    Raises:
        NoSuchLayer: the network has no such layer.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017; Chattopadhay et al., Grad-CAM++, WACV 2018; for segmenters
    Vinogradova et al., Towards interpretable semantic segmentation via gradient-weighted class activation mapping,
    AAAI 2020.
    """

    def __init__(
        self, network: nn.Module, layer: str, variant: type[GradCAM] = GradCAM, segmenter: bool = False
    ) -> None:
        modules = dict(network.named_modules())
        if layer not in modules:
            near = [name for name in modules if name.startswith(layer.partition(".")[0])][-5:]
            raise NoSuchLayer(
                f"{type(network).__name__} has no layer {layer!r}; set cam_layer to one such as {', '.join(near)}"
            )
        self._network = network
        self._module = modules[layer]
        self._start = self._module.register_forward_pre_hook(_begin_gradients)
        self._before = (set(self._module._forward_hooks), set(self._module._backward_hooks))
        kind = _MaskHooks if segmenter else _PerSampleHooks
        self._hooks = kind(network, layer, register_forward=True, register_backward=True)
        self._cam = variant(self._hooks, layer, postprocessing=_unchanged)

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """See `Explainer`. Where a mask is empty there is nothing to explain, so its map is all 0.

        Raises:
            MaskMismatch: the masks have another shape than the logits.
        """
        with torch.enable_grad(), _frozen(self._network), _unmirrored(self._network):
            maps = self._cam(images.detach(), class_idx=targets)
        # these hold the graph, whose hooks hold them: a circle through C++, which Python cannot collect
        self._hooks.activations.clear()
        self._hooks.gradients.clear()
        self._hooks.score = None
        return scaled_to_own_maximum(maps.detach().float())

    def close(self) -> None:
        """Remove the hooks from the network."""
        self._start.remove()
        for hooks, before in zip(
            (self._module._forward_hooks, self._module._backward_hooks), self._before, strict=True
        ):
            for key in set(hooks) - before:
                del hooks[key]


def _begin_gradients(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Gradients are wanted at the layer's output; what comes before it need not be gone back through."""
    return tuple(
        own.detach().requires_grad_(True) if isinstance(own, Tensor) and own.is_floating_point() else own
        for own in inputs
    )


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Nothing is learned here: without gradients of weights, going back costs half."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def _unmirrored(network: Any) -> Iterator[None]:
    """A network that averages over mirror images passes the layer twice; the map is of the slice itself."""
    mirrored = getattr(network, "mirrored", None)
    if mirrored:
        network.mirrored = False
    try:
        yield
    finally:
        if mirrored:
            network.mirrored = True


class _PerSampleHooks(ModelWithHooks):
    """Each sample is explained for its own class; MONAI would take every class from every sample.

    Grad-CAM++ multiplies by the exponential of the score, which is one number per sample, so it goes when the map is
    scaled; the score's value is taken off, for it would overflow.
    """

    def class_score(self, logits: Tensor, class_idx: Any) -> Tensor:
        score = logits.gather(1, class_idx.reshape(-1, 1))
        return (score - score.detach())[..., None, None]


class _MaskHooks(_PerSampleHooks):
    """The logits of each sample's own mask, summed, and divided by its pixels.

    Grad-CAM does not see the division, as its maps are scaled. Grad-CAM++ does: of a score of thousands it would keep
    little but the signs of the gradients, and so rounding.
    """

    def class_score(self, logits: Tensor, class_idx: Any) -> Tensor:
        if class_idx.shape != logits.shape:
            raise MaskMismatch(f"masks of shape {tuple(class_idx.shape)} for logits of shape {tuple(logits.shape)}")
        pixels = class_idx.flatten(1).sum(dim=1).clamp(min=1)
        score = (logits * class_idx).flatten(1).sum(dim=1) / pixels
        return (score - score.detach())[:, None, None, None]


def _unchanged(maps: Tensor) -> Tensor:
    return maps
