"""Near-duplicate slices: fingerprints, and clusters of pictures that look the same."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
import PIL.Image

from monai_brain.data.similarity import NEIGHBOR, THUMBNAIL_PIXELS, alike, clusters_of
from monai_brain.io import Case, UnreadableCase
from monai_brain.io.read import read_bytes, read_image
from monai_brain.transforms.load import to_8_bits, to_channels
from monai_brain.transforms.spatial import resize

NEAR_DUPLICATE_BITS = 4
"""Hamming distance, of 256, up to which two slices count as the same picture."""

NEIGHBOR_BITS = 30
"""Up to here two slices are taken for neighbors in one volume (or one slice, processed twice): one group."""

HASHED_SIZE_PIXELS = 224
"""Slices are hashed at this size, so that copies of another size hash alike."""

HASH_SIZE = 16
"""imagehash's `hash_size`: 16 x 16 = 256 bits."""

FEW_FILES = 200
"""Up to here a second process costs more than it saves."""


class Fingerprint(NamedTuple):
    """What identifies a slice, exactly and nearly; or why it cannot be read."""

    sha256: str
    """Of the file, hexadecimal."""
    bits: np.ndarray
    """(32,) uint8, the packed perceptual hash; zeros if unreadable."""
    thumbnail: np.ndarray
    """(32, 32) uint8, gray; zeros if unreadable."""
    shape: tuple[int, int] = (0, 0)
    """Height and width in pixels."""
    refusal: UnreadableCase | None = None


def fingerprint(case: Case) -> Fingerprint:
    """SHA-256 and perceptual hash (DCT, 256 bits; imagehash.phash) of a slice."""
    try:
        digest = hashlib.sha256(read_bytes(case.files[0])).hexdigest()
        gray = to_channels(to_8_bits(read_image(case.files[0]).pixels), gray=True)
    except UnreadableCase as refusal:
        nothing = np.zeros(HASH_SIZE**2 // 8, np.uint8), np.zeros((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), np.uint8)
        return Fingerprint("", *nothing, refusal=refusal)
    standard = resize(gray, HASHED_SIZE_PIXELS)[0]
    bits = np.packbits(imagehash.phash(PIL.Image.fromarray(standard), hash_size=HASH_SIZE).hash)
    small = cv2.resize(standard, (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), interpolation=cv2.INTER_AREA)
    return Fingerprint(digest, bits, small, gray.shape[1:])


def fingerprints(cases: Sequence[Case], workers: int) -> list[Fingerprint]:
    """Fingerprints of many slices, in their order, by `workers` processes (1: in this one)."""
    if workers <= 1 or len(cases) <= FEW_FILES:
        return [fingerprint(case) for case in cases]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        return list(pool.map(fingerprint, cases, chunksize=64))


def pairs_within(bits: np.ndarray, most: int, *, rows_at_once: int = 512) -> np.ndarray:
    """Pairs of hashes that differ in at most `most` bits.

    Args:
        bits: (N, 32) uint8 packed hashes.
        most: Hamming distance, of 256.
        rows_at_once: bounds the memory to about 10 bytes times this times N.

    Returns:
        (P, 2) indices, the first below the second.
    """
    words = np.ascontiguousarray(bits).view(np.uint64)
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(words), rows_at_once):
        rows = words[start : start + rows_at_once]
        rest = words[start:]
        distance = np.zeros((len(rows), len(rest)), np.uint16)
        for word in range(words.shape[1]):
            distance += np.bitwise_count(rows[:, None, word] ^ rest[None, :, word])
        first, second = np.nonzero(distance <= most)
        later = second > first
        found.append(np.stack([first[later], second[later]], axis=1) + start)
    return np.concatenate(found)


def clusters(prints: Sequence[Fingerprint], most: int = NEIGHBOR_BITS, least: float = NEIGHBOR) -> np.ndarray:
    """Single-linkage clusters of slices that look alike, by their hashes or, in any orientation, their thumbnails.

    Args:
        prints: N fingerprints.
        most: Hamming distance of hashes, of 256.
        least: correlation of thumbnails.

    Returns:
        (N,) cluster numbers; each is the index of the cluster's first member.
    """
    by_hash = pairs_within(np.stack([found.bits for found in prints]), most)
    by_sight = alike(np.stack([found.thumbnail for found in prints]), least)
    return clusters_of(len(prints), by_hash, np.stack(by_sight[:2], axis=1))


def _one_thread() -> None:
    cv2.setNumThreads(1)
