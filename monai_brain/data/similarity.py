"""Find images of the same slice by comparing thumbnails in all eight orientations."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ORIENTATIONS = (
    "as it is",
    "turned left",
    "upside down",
    "turned right",
    "mirrored",
    "mirrored and turned left",
    "mirrored and upside down",
    "mirrored and turned right",
)
"""How to orient the second image of a pair like the first: quarter turns, then a left-right flip."""

MIRRORED = 4
"""Orientations from here on are mirrored."""

THUMBNAIL_PIXELS = 32

COPY = 0.995
"""Correlation of thumbnails from which on two pictures are one slice. Of the public set's identified slices, all
copies lie above it and no two different slices do."""

NEAR_COPY = 0.99
"""From here on, two images are probably the same slice, slightly changed: 0.05 % of such pairs are different slices."""

NEIGHBOR = 0.98
"""From here on, two images are the same slice or neighbors in one head, judging from the public set."""

COARSE_SLACK = 0.005
"""What a pair may correlate less at half the size, where pairs are looked for first."""

ROWS_AT_ONCE = 512
"""Bounds the memory to about 4 bytes times this times the number of pictures."""


class Pairs(NamedTuple):
    """Pairs of pictures that look alike, the most alike first."""

    first: np.ndarray
    """Indices, (P,)."""
    second: np.ndarray
    """Indices, (P,); of the same set above `first`."""
    orientation: np.ndarray
    """Of `ORIENTATIONS`, (P,)."""
    correlation: np.ndarray
    """Of the thumbnails, (P,), in [-1, 1]."""

    def at_least(self, correlation: float) -> "Pairs":
        """Those with a correlation from here on."""
        number = int(np.searchsorted(-self.correlation, -correlation, side="right"))
        return Pairs(*(column[:number] for column in self))


def oriented(thumbnails: np.ndarray, orientation: int) -> np.ndarray:
    """Thumbnails, (N, S, S), in one of the `ORIENTATIONS`."""
    turned = np.rot90(thumbnails, orientation % MIRRORED, (1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if orientation >= MIRRORED else turned)


def alike(thumbnails: np.ndarray, least: float = NEIGHBOR, against: np.ndarray | None = None) -> Pairs:
    """Pairs of pictures whose thumbnails correlate, whatever their orientation; each pair once, as it fits best.

    Args:
        thumbnails: gray, (N, 32, 32).
        least: smallest correlation.
        against: thumbnails of another set, (M, 32, 32), to compare with; None: pairs within the first set.
    """
    others = thumbnails if against is None else against
    fine, empty = unit(thumbnails), np.empty((0, 4))
    found = [empty]
    for orientation in range(len(ORIENTATIONS)):
        turned = unit(oriented(others, orientation))
        for first, second in _candidates(thumbnails, oriented(others, orientation), least, against is None):
            correlation = np.einsum("ij,ij->i", fine[first], turned[second])
            kept = correlation >= least
            columns = (first[kept], second[kept], np.full(int(kept.sum()), orientation), correlation[kept])
            found.append(np.stack(columns, axis=1))
    return _best_of_each_pair(np.concatenate(found), len(others))


def clusters_of(number: int, *pairs: np.ndarray) -> np.ndarray:
    """Single linkage: images connected by a chain of pairs form one cluster.

    Args:
        number: of pictures.
        pairs: (P, 2) indices.

    Returns:
        (number,) cluster numbers; each is the index of the cluster's first member.
    """
    joined = np.concatenate([np.empty((0, 2), np.int64), *pairs])
    graph = coo_array((np.ones(len(joined), bool), (joined[:, 0], joined[:, 1])), shape=(number, number))
    count, membership = connected_components(graph, directed=False)
    first = np.full(count, number)
    np.minimum.at(first, membership, np.arange(number))
    return first[membership]


def _candidates(
    thumbnails: np.ndarray, others: np.ndarray, least: float, within: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of pairs that may correlate, in blocks."""
    rows, columns = unit(_halved(thumbnails)), unit(_halved(others))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        offset = start if within else 0
        correlation = rows[start : start + ROWS_AT_ONCE] @ columns[offset:].T
        hits = np.flatnonzero(correlation.ravel() >= least - COARSE_SLACK)  # several times faster than nonzero
        first, second = hits // correlation.shape[1] + start, hits % correlation.shape[1] + offset
        later = second > first if within else np.ones(len(first), bool)
        yield first[later], second[later]


def _best_of_each_pair(found: np.ndarray, number: int) -> Pairs:
    found = found[np.argsort(-found[:, 3], kind="stable")]
    _, place = np.unique(found[:, 0] * number + found[:, 1], return_index=True)
    found = found[np.sort(place)]
    indices = found[:, :3].astype(np.int64)
    return Pairs(indices[:, 0], indices[:, 1], indices[:, 2], found[:, 3])


def unit(thumbnails: np.ndarray) -> np.ndarray:
    """Rows with mean 0 and length 1, so that a product of two is their correlation; (N, S * S) float32."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def _halved(thumbnails: np.ndarray) -> np.ndarray:
    """Means of two by two pixels, (N, S / 2, S / 2) float32."""
    half = thumbnails.shape[1] // 2
    return thumbnails.reshape(len(thumbnails), half, 2, half, 2).mean((2, 4), dtype=np.float32)
