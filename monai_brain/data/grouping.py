"""Groups of images that must stay in one part of a split, by fingerprints of public sets and by similarity."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from monai_brain.data.duplicates import NEIGHBOR_BITS, Fingerprint, pairs_within
from monai_brain.data.provenance import CHENG, KnownSlice, identify
from monai_brain.data.similarity import COPY, NEIGHBOR, alike, clusters_of

KNOWN_FOLDS = 5
"""Folds of patients that the author of the Cheng set published."""

BY_PROVENANCE = (
    "slices of the Cheng set by its author's patient folds; other images de-duplicated, not patient-level, by likeness "
    "in eight orientations; copies left out"
)


class Provenance(NamedTuple):
    """Provenance of N images, from the fingerprints of public sets."""

    known: Sequence[KnownSlice | None]
    """The Cheng slice that each picture shows."""
    folds: Sequence[int | None]
    """Patient fold of the slice, from 1 to 5, or of the known slices that the image resembles."""
    clusters: np.ndarray
    """(N,) cluster of look-alikes; each is the index of the cluster's first member."""
    copies: np.ndarray
    """(N,) index of the first picture that shows the same slice."""

    def facts(self, place: int) -> dict[str, Any]:
        """The entries of an image in a datalist."""
        own = self.known[place]
        if own is None:
            return {"source": "other"}
        return {"source": "cheng", "cheng_index": own.number, "mirrored": own.mirrored}

    def distinct(self) -> list[int]:
        """Indices of images that are not copies of earlier ones."""
        return [place for place, first in enumerate(self.copies.tolist()) if place == first]

    def slice_groups(self) -> list[str]:
        """A group for each known slice and each cluster of others; `folds` keeps the slices of a patient together."""
        return [
            f"cheng-{own.number}" if own else f"like-{cluster}"
            for own, cluster in zip(self.known, self.clusters.tolist(), strict=True)
        ]

    def fold_groups(self, labels: Sequence[int]) -> list[str]:
        """A group per patient fold and class, and per cluster of other images: no split can divide a patient."""
        return [
            f"cheng-fold-{fold}-{label}" if fold else f"like-{cluster}"
            for fold, label, cluster in zip(self.folds, labels, self.clusters.tolist(), strict=True)
        ]


def find_provenance(prints: Sequence[Fingerprint]) -> Provenance:
    """What is known of readable pictures."""
    thumbnails = np.stack([own.thumbnail for own in prints])
    known = [own if own and own.source == CHENG else None for own in identify(thumbnails)]
    pairs = alike(thumbnails, NEIGHBOR)
    near = np.stack(pairs[:2], axis=1)
    clusters = clusters_of(len(prints), pairs_within(np.stack([own.bits for own in prints]), NEIGHBOR_BITS), near)
    first_of_number: dict[int, int] = {}
    same_slice = [
        (first_of_number.setdefault(own.number, place), place) for place, own in enumerate(known) if own is not None
    ]
    copies = clusters_of(
        len(prints), np.stack(pairs.at_least(COPY)[:2], axis=1), np.array(same_slice, np.int64).reshape(-1, 2)
    )
    return Provenance(known, _folds(known, clusters), clusters, copies)


def _folds(known: Sequence[KnownSlice | None], clusters: np.ndarray) -> list[int | None]:
    """Put unknown images that resemble known slices in the fold of most of these."""
    of_cluster: dict[int, Counter[int]] = {}
    for own, cluster in zip(known, clusters.tolist(), strict=True):
        if own is not None:
            of_cluster.setdefault(cluster, Counter())[own.fold] += 1
    most = {cluster: folds.most_common(1)[0][0] for cluster, folds in of_cluster.items()}
    return [own.fold if own else most.get(cluster) for own, cluster in zip(known, clusters.tolist(), strict=True)]
