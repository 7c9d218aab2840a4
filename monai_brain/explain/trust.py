"""How far an explanation can be trusted: where its mass lies, and what happens when its evidence is removed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage, stats
from torch import Tensor

FOREGROUND = 25
"""Of 255: brighter pixels are head."""

BORDER_SHARE = 0.06
"""Of a side, at each end: where no brain is, but frames and scanner text."""

REMOVED_SHARE = 0.1
"""Of the pixels, the hottest: what is taken away."""

LEAST_INSIDE = 0.5
"""A map with less of its mass inside the head is warned about."""

LOOKS_OUTSIDE = "evidence_outside_head"
"""Code of this warning."""

EMPTY = "evidence_empty"
"""Warning for an all-zero map, which shows nothing."""


class Trust(NamedTuple):
    """Figures of one map; None where they are undefined."""

    inside_head: float | None
    """Share of the map's mass."""
    at_border: float | None
    """Share of the map's mass in the image's outermost rows and columns."""
    inside_mask: float | None
    """Share of the map's mass inside the tumor's mask; None without one."""
    hits_mask: bool | None
    """Whether the hottest pixel is inside the mask (pointing game, J. Zhang et al., IJCV 2018)."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """`EMPTY`, `LOOKS_OUTSIDE`, or nothing."""
        if self.inside_head is None:
            return (EMPTY,)
        return (LOOKS_OUTSIDE,) if self.inside_head < LEAST_INSIDE else ()


def trust_of(heat: np.ndarray, gray: np.ndarray, mask: np.ndarray | None = None) -> Trust:
    """Where a map's mass lies.

    Args:
        heat: (H, W) in [0, 1].
        gray: uint8 (H, W), the slice.
        mask: bool (H, W), tumor, of a reference or a prediction; None or empty: there is none.
    """
    has_mask = mask is not None and bool(mask.any())
    hottest = np.unravel_index(int(heat.argmax()), heat.shape)
    return Trust(
        share_inside(heat, head_mask(gray)),
        share_inside(heat, border_mask(heat.shape)),
        share_inside(heat, mask) if has_mask and mask is not None else None,
        bool(mask[hottest]) if has_mask and mask is not None and heat.any() else None,
    )


def head_mask(gray: np.ndarray) -> np.ndarray:
    """The largest bright region of a slice with its holes filled, bool (H, W)."""
    labels, count = ndimage.label(gray > FOREGROUND)
    if not count:
        return np.zeros(gray.shape, bool)
    largest = 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return ndimage.binary_fill_holes(labels == largest)


def border_mask(shape: tuple[int, ...]) -> np.ndarray:
    """The outermost rows and columns, bool (H, W)."""
    rows, columns = (max(1, round(BORDER_SHARE * side)) for side in shape)
    mask = np.ones(shape, bool)
    mask[rows:-rows, columns:-columns] = False
    return mask


def share_inside(heat: np.ndarray, mask: np.ndarray) -> float | None:
    """Share of a map's mass inside a mask; None for an empty map."""
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else None


def iou_at_matched_area(heat: np.ndarray, mask: np.ndarray) -> float | None:
    """Intersection over union of a mask and as many of the map's hottest pixels; None for an empty map or mask.

    Args:
        heat: (H, W) in [0, 1].
        mask: bool (H, W), tumor.
    """
    count = int(mask.sum())
    if not count or not heat.any():
        return None
    hottest = np.argsort(heat, axis=None)[-count:]
    shared = int(mask.ravel()[hottest].sum())
    return shared / (2 * count - shared)


def mask_hottest(images: Tensor, maps: Tensor, share: float = REMOVED_SHARE) -> Tensor:
    """Images whose hottest pixels have become the image's darkest value; where a map is 0 they stay as they are.

    Args:
        images: (N, C, H, W).
        maps: (N, 1, H, W).
        share: of the pixels that are removed, at most.
    """
    flat = maps.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    hottest = torch.zeros_like(flat).scatter(1, flat.topk(count, dim=1).indices, 1.0).reshape(maps.shape)
    darkest = images.flatten(2).amin(dim=2)[..., None, None]
    return torch.where(hottest.bool() & (maps > 0), darkest, images)


def removal_drop(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    share: float = REMOVED_SHARE,
    before: Tensor | None = None,
) -> Tensor:
    """By how much each class's probability falls when the hottest pixels become the image's darkest value.

    Args:
        network: logits (N, K) from images.
        images: (N, C, H, W).
        maps: (N, 1, H, W).
        classes: (N,).
        share: of the pixels that are removed.
        before: probabilities of the classes, (N,), where they are known.

    Returns:
        (N,), in [-1, 1]; near 0, the map does not show what the network relies on.
    """

    def probability(own: Tensor) -> Tensor:
        return torch.softmax(network(own), dim=1).gather(1, classes.reshape(-1, 1))[:, 0]

    with torch.no_grad():
        after = probability(mask_hottest(images, maps, share))
        return (probability(images) if before is None else before) - after


def moved(maps: Tensor, random: torch.Generator) -> Tensor:
    """Each map (1, H, W) of a batch rolled round by a distance of its own, so that its shapes lie somewhere else.

    What it costs to remove them there is what any such removal costs. Pixels strewn at random would not do: they cost
    more than any region, as no slice looks like that.
    """
    height, width = maps.shape[-2:]
    rows, columns = (torch.randint(side, (len(maps),), generator=random).tolist() for side in (height, width))
    rolled = [own.roll(by, dims=(-2, -1)) for own, by in zip(maps, zip(rows, columns, strict=True), strict=True)]
    return torch.stack(rolled)


def agreement(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's correlation of two maps: near 1 for a map that does not depend on the weights that were shuffled.

    None where a map is the same everywhere: it has no ranks, and 0 would say that it depends on the weights.

    Source: J. Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)


def to_gray(image: np.ndarray) -> np.ndarray:
    """A network's input (C, H, W) as an 8-bit gray picture (H, W): its first channel, stretched."""
    low, high = image[0].min(), image[0].max()
    return np.rint((image[0] - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
