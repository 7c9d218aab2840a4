"""The mean of what a segmenter says of several looks at one slice."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

AS_IT_IS = (1.0,)


class UnusableContrasts(ValueError):
    """Exponents that a slice cannot be looked at with."""


def check_contrasts(contrasts: Sequence[float]) -> tuple[float, ...]:
    """The exponents as they are used.

    Raises:
        UnusableContrasts: there is none, or one is not above 0.
    """
    if not isinstance(contrasts, Sequence) or not contrasts or not all(gamma > 0 for gamma in contrasts):
        raise UnusableContrasts(f"average_contrasts is {contrasts!r}; give exponents above 0, such as [1.0, 1.3]")
    return tuple(float(gamma) for gamma in contrasts)


def mean_of_looks(look: Callable[[Tensor], Tensor], inputs: Tensor, flips: bool, contrasts: Sequence[float]) -> Tensor:
    """The mean of the logits of a slice, its mirror image left to right, and the same with other contrasts.

    Args:
        look: from inputs to logits (N, K, H, W).
        inputs: (N, C, H, W).
        flips: with mirror images.
        contrasts: exponents (gamma); 1 is the slice as it is, above 1 dark tissue becomes darker.

    Returns:
        (N, K, H, W).
    """
    found = []
    for gamma in contrasts:
        images = with_contrast(inputs, gamma)
        found.append(look(images))
        if flips:
            found.append(look(images.flip(-1)).flip(-1))
    return torch.stack(found).mean(0) if len(found) > 1 else found[0]


def with_contrast(images: Tensor, gamma: float) -> Tensor:
    """Each channel's intensities, between its darkest and brightest pixel, to the power of gamma.

    Args:
        images: (N, C, H, W), normalized or not.
        gamma: 1 changes nothing.

    Source: what `monai.transforms.AdjustContrast` does to an image, for each channel.
    """
    if gamma == 1.0:
        return images
    low = images.amin((2, 3), keepdim=True)
    extent = (images.amax((2, 3), keepdim=True) - low).clamp_min(torch.finfo(images.dtype).eps)
    return ((images - low) / extent).pow(gamma) * extent + low
