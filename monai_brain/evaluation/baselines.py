"""Baselines that need no training, and that a model must beat to be of any use."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from monai_brain.data.similarity import COPY, alike
from monai_brain.io.read import read_image
from monai_brain.transforms.load import to_8_bits, to_channels

THUMBNAIL_PIXELS = 32


def thumbnails(paths: Sequence[str]) -> np.ndarray:
    """Gray thumbnails with mean 0 and length 1, so that a product of two is their correlation.

    Returns:
        (N, 1024) float32.
    """
    rows = np.stack([_thumbnail(Path(path)) for path in paths]).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def nearest_neighbors(references: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most similar reference of each query.

    Args:
        references: thumbnails, (M, 1024).
        queries: thumbnails, (N, 1024).

    Returns:
        Index into `references` and correlation in [-1, 1], both (N,).
    """
    similarity = queries @ references.T
    nearest = similarity.argmax(axis=1)
    return nearest, similarity[np.arange(len(queries)), nearest]


def copies_among(references: np.ndarray, queries: np.ndarray) -> int:
    """Number of queries that are a copy of a reference, in any of eight orientations; see `data.similarity.COPY`.

    Args:
        references: thumbnails, (M, 1024).
        queries: thumbnails, (N, 1024).
    """
    squares = [rows.reshape(-1, THUMBNAIL_PIXELS, THUMBNAIL_PIXELS) for rows in (queries, references)]
    return len(np.unique(alike(squares[0], COPY, against=squares[1]).first))


def _thumbnail(path: Path) -> np.ndarray:
    gray = to_channels(to_8_bits(read_image(path).pixels), gray=True)[0]
    return np.asarray(PIL.Image.fromarray(gray).resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))).ravel()
