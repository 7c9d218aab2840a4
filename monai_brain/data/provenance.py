"""Recognize slices of public data sets by hashes shipped with the package."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from scipy.fft import dctn

from monai_brain.data.similarity import MIRRORED, oriented

FREQUENCIES = 16
"""Along each axis: 256 bits."""

SAME_SLICE_BITS = 12
"""Largest Hamming distance of a match. All copies in the public set are within 10."""

CHENG, OTHER = "Cheng", "Nickparvar, source not identified"
"""Sources: the figshare set of J. Cheng (2017), and those images of M. Nickparvar's set (2021) that are not from it."""

ROWS_AT_ONCE = 1024


class KnownSlice(NamedTuple):
    """A public slice that a picture shows."""

    source: str
    """`CHENG` or `OTHER`."""
    number: int
    """Of the slice in its source, from 1; 0 where it is not known."""
    fold: int
    """Of its patient, from 1 to 5; Cheng's author published these folds. Others are in folds by likeness."""
    mirrored: bool
    """The picture is a mirror image of the public one, left to right."""


def appearance_hash(thumbnails: np.ndarray) -> np.ndarray:
    """A perceptual hash of 256 bits: which low frequencies lie above their median.

    Args:
        thumbnails: gray, (N, 32, 32).

    Returns:
        (N, 32) uint8, packed.

    Source: the DCT hash of C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.
    """
    spectrum = dctn(thumbnails.astype(np.float32), axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    low = spectrum.reshape(len(thumbnails), -1)
    return np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)


def identify(thumbnails: np.ndarray) -> Sequence[KnownSlice | None]:
    """The known slice that each image shows, as it is or mirrored; None if there is none.

    Args:
        thumbnails: gray, (N, 32, 32).
    """
    known = _known()
    found: list[KnownSlice | None] = []
    for start in range(0, len(thumbnails), ROWS_AT_ONCE):
        rows = thumbnails[start : start + ROWS_AT_ONCE]
        distances = np.stack([nearest_hash(appearance_hash(oriented(rows, o)), known["hashes"]) for o in (0, MIRRORED)])
        mirrored = distances[1, :, 1] < distances[0, :, 1]
        for own, flipped in zip(np.moveaxis(distances, 0, 1), mirrored, strict=True):
            place, bits = own[int(flipped)]
            found.append(_slice(known, place, bool(flipped)) if bits <= SAME_SLICE_BITS else None)
    return found


def _slice(known: dict[str, np.ndarray], place: int, flipped: bool) -> KnownSlice:
    number = int(known["numbers"][place])
    was_mirrored = bool(known["mirrored"][place])  # the public set mirrored many slices of its source itself
    return KnownSlice(
        CHENG if number else OTHER, number, int(known["folds"][place]), flipped != was_mirrored if number else flipped
    )


def nearest_hash(hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Index and Hamming distance of the nearest known hash, (N, 2)."""
    distance = np.zeros((len(hashes), len(known)), np.uint16)
    ours, theirs = (np.ascontiguousarray(own).view(np.uint64) for own in (hashes, known))
    for word in range(ours.shape[1]):
        distance += np.bitwise_count(ours[:, None, word] ^ theirs[None, :, word])
    nearest = distance.argmin(axis=1)
    return np.stack([nearest, distance[np.arange(len(hashes)), nearest]], axis=1)


@cache
def _known() -> dict[str, np.ndarray]:
    """`hashes` (N, 32) uint8, `numbers`, `folds` and `mirrored` (N,); made by scripts/publish_provenance.py."""
    with (files("monai_brain.data") / "known_slices.npz").open("rb") as file, np.load(file) as content:
        return dict(content)
