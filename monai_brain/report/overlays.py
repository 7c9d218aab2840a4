"""Slices with what was found on them, pixel by pixel: heat maps, masks, panels for worklists and pages."""

import cv2
import matplotlib
import numpy as np

MASK_COLOR = (86, 180, 233)
"""Of a predicted tumor, RGB."""

REFERENCE_COLOR = (213, 94, 0)
"""Of a reader's tumor, RGB."""

HEIGHT = 256
"""Of the pictures of a panel, in pixels."""

GAP = np.zeros((HEIGHT, 6, 3), np.uint8)
"""Between them."""


def overlay(gray: np.ndarray, heat: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """A heat map over a slice: where the map is 0 the slice stays as it is.

    Args:
        gray: uint8 (H, W).
        heat: (h, w) in [0, 1]; brought to the slice's size.
        opacity: of the map where it is 1.

    Returns:
        uint8 RGB, (H, W, 3).
    """
    colors, share = _heat_colors(heat, gray.shape)
    weight = opacity * share
    return np.rint(gray[..., None] * (1 - weight) + colors * weight).astype(np.uint8)


def heat_layer(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A heat map to be laid over a slice: what `overlay` adds to it, as uint8 RGBA (H, W, 4).

    Args:
        heat: (h, w) in [0, 1].
        shape: H and W.
    """
    colors, share = _heat_colors(heat, shape)
    return np.rint(np.concatenate([colors, 255 * share], axis=2)).astype(np.uint8)


def mask_layer(mask: np.ndarray) -> np.ndarray:
    """A mask to be laid over a slice: blue, its outline opaque, as uint8 RGBA of bool (H, W)."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[..., :3] = MASK_COLOR
    layer[mask, 3] = 90
    outline = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(outline, _contours(mask), -1, 1, 1)
    layer[outline > 0, 3] = 255
    return layer


def mask_panel(gray: np.ndarray, reference: np.ndarray, predicted: np.ndarray, caption: str) -> np.ndarray:
    """A slice, and beside it the outlines of the reference (orange, thick) and of the prediction (blue).

    Args:
        gray: uint8 (H, W).
        reference: bool (H, W).
        predicted: bool (H, W).
        caption: one line above.

    Returns:
        uint8 RGB, (rows, columns, 3).
    """
    shown = _enlarged(gray)
    outlined = _outlined(_outlined(shown, reference, REFERENCE_COLOR, width=3), predicted)
    return _captioned(np.hstack([shown, GAP, outlined]), caption)


def outline_panel(gray: np.ndarray, mask: np.ndarray, aspect: float = 1.0) -> np.ndarray:
    """A slice, and beside it the outline of a mask (blue).

    Args:
        gray: uint8 (H, W).
        mask: bool (H, W).
        aspect: height of a pixel over its width.

    Returns:
        uint8 RGB, (rows, columns, 3).
    """
    shown = _enlarged(gray, aspect)
    return np.hstack([shown, GAP, _outlined(shown, mask)])


def explanation_panel(
    gray: np.ndarray, heat: np.ndarray, caption: str, mask: np.ndarray | None = None, aspect: float = 1.0
) -> np.ndarray:
    """Slice and overlay side by side with a color bar and a caption above.

    Args:
        gray: uint8 (H, W).
        heat: (h, w) in [0, 1].
        caption: one line.
        mask: bool (H, W), whose outline (blue) both have; None: there is none.
        aspect: height of a pixel over its width.

    Returns:
        uint8 RGB, (rows, columns, 3).
    """
    shown = _enlarged(gray, aspect)
    pictures = [shown, overlay(shown[..., 0], heat)]
    if mask is not None:
        pictures = [_outlined(picture, mask) for picture in pictures]
    bar = np.repeat(np.linspace(1, 0, HEIGHT)[:, None], 12, axis=1)
    bar_colors = np.rint(_colors(bar)).astype(np.uint8)
    return _captioned(np.hstack([pictures[0], GAP, pictures[1], GAP, bar_colors]), caption)


def _colors(values: np.ndarray) -> np.ndarray:
    """RGB in [0, 255], (H, W, 3), of values in [0, 1]."""
    return matplotlib.colormaps["inferno"](values)[..., :3] * 255


def _heat_colors(heat: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """RGB in [0, 255], (H, W, 3), and how much of it is seen, in [0, 1], (H, W, 1)."""
    height, width = shape
    heat = np.clip(cv2.resize(heat.astype(np.float32), (width, height)), 0, 1)
    return _colors(heat), np.minimum(1, heat * 2)[..., None]


def _enlarged(gray: np.ndarray, aspect: float = 1.0) -> np.ndarray:
    """A slice at the height of a panel, as RGB."""
    size = (max(1, round(gray.shape[1] * HEIGHT / (gray.shape[0] * aspect))), HEIGHT)
    shown = cv2.resize(gray, size, interpolation=cv2.INTER_AREA if gray.shape[0] > HEIGHT else cv2.INTER_CUBIC)
    return np.repeat(shown[..., None], 3, axis=2)


def _outlined(
    picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = MASK_COLOR, width: int = 1
) -> np.ndarray:
    """A copy of uint8 RGB (rows, columns, 3) with the outline of a mask, bool (H, W), brought to its size."""
    outlined = picture.copy()
    large = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    cv2.drawContours(outlined, _contours(large), -1, color, width)
    return outlined


def _contours(mask: np.ndarray) -> list[np.ndarray]:
    return list(cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0])


def _captioned(row: np.ndarray, caption: str) -> np.ndarray:
    """A panel under one line of text."""
    header = np.zeros((24, row.shape[1], 3), np.uint8)
    cv2.putText(header, caption, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([header, row])
