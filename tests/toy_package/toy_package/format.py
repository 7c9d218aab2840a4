"""Slices as text: a line `TOY`, then a line for each row with its gray values from 0 to 255."""

import numpy as np

from monai_brain.io.formats import Format
from monai_brain.io.record import Image, Limits, UnreadableCase


def read(content: bytes, limits: Limits) -> Image:
    """Decode a slice."""
    if content.count(b" ") > limits.max_pixels:
        raise UnreadableCase("too_large", f"more than {limits.max_pixels} pixels")
    try:
        rows = [[int(word) for word in line.split()] for line in content.splitlines()[1:]]
        pixels = np.array(rows, np.uint8)
    except (ValueError, OverflowError):
        raise UnreadableCase("damaged", "the rows are not equally long lists of numbers from 0 to 255") from None
    return Image(pixels[None], spacing_mm=None, affine_ras=None, kind="slice")


FORMAT = Format("Toy", (".toy",), lambda content: content.startswith(b"TOY\n"), read)
