"""Whether a picture is what a classifier was trained for: a head, in T1 with contrast, like those it learned from."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from monai_brain.io.weights import load_weights
from monai_brain.networks.input_check import InputCheckNet

INPUT_CHECK = "input_check.safetensors"
"""Beside weights: the fitted check, plain numbers."""

KINDS = ("t1c", "t1", "flair", "t2", "not_a_head")
"""What the check tells apart; the first one is what the classifier was trained for."""

PLANES = ("axial", "coronal", "sagittal")

SIDE_PIXELS = 128
"""Of the square that the check looks at."""

HEAD_ROWS = 0.15
"""Of the brightest row's mean: rows and columns above are picture, the others background with thin text or lines."""

MARGIN = 0.04
"""Around the picture, of its side."""

WHITE_QUANTILE, LEAST_WHITE = 0.99, 0.05
"""What becomes 1 before the network, and its least value: a picture that is nearly empty stays dark."""

LEAST_STRIPPED = 0.9
"""Probability from which a head counts as one without skull."""


class Reason(NamedTuple):
    """What the check says of a case."""

    code: str
    """Of `report.reasons`; empty where nothing speaks against a class."""
    sequence: str = ""
    """That the file says or else the picture shows, such as `flair`; empty for what is no head."""
    plane: str = ""
    """That the picture shows, one of `PLANES`; empty for what is no head."""


class InputCheck:
    """A fitted check; travels to workers by its path, and loads there.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}

    @functools.cached_property
    def network(self) -> InputCheckNet:
        """With its numbers.

        Raises:
            InvalidWeights: the file does not hold them.
        """
        network = InputCheckNet(len(KINDS), len(PLANES))
        load_weights(network, self.path)
        network.eval().fuse()
        return network

    def __call__(self, slices: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities of `KINDS`, `PLANES` and a stripped skull, and the distance from what was learned.

        Shape (N, 10), float32.

        Args:
            slices: N times uint8 (H, W).
        """
        # one by one, so that a slice's digits do not depend on its neighbors
        return np.concatenate([self.of_thumbnails(thumbnail(gray)[None]) for gray in slices])

    def of_thumbnails(self, pictures: np.ndarray) -> np.ndarray:
        """As `__call__`, of what `thumbnail` makes, (N, `SIDE_PIXELS`, `SIDE_PIXELS`)."""
        with torch.inference_mode():
            own = self.network(as_network_input(pictures))
            shares = own.kinds.softmax(dim=1), own.planes.softmax(dim=1), own.skull_stripped.sigmoid()[:, None]
            return torch.cat([*shares, own.distances[:, None]], dim=1).numpy()

    def reason(self, scores: np.ndarray, said: str = "") -> Reason:
        """What speaks against a class for a case.

        Args:
            scores: of its slices, (N, 10); those of a volume count together.
            said: the sequence that the file itself names; empty: it names none. It goes before what the picture shows.
        """
        least_probability, most_distance = self.network.limits.tolist()
        kinds, planes, (skull_stripped,) = np.split(scores[:, :-1].mean(axis=0), [len(KINDS), len(KINDS) + len(PLANES)])
        accepted = kinds[0] >= least_probability
        if KINDS[int(np.argmax(kinds))] == "not_a_head" and not accepted:
            return Reason("not_a_head")
        other = KINDS[1 + int(np.argmax(kinds[1:-1]))]
        sequence = said or (KINDS[0] if accepted else other)
        seen = sequence, PLANES[int(np.argmax(planes))]
        if sequence != KINDS[0]:
            return Reason("other_sequence", *seen)
        if skull_stripped >= LEAST_STRIPPED:
            return Reason("skull_stripped", *seen)
        return Reason("unlike_training" if np.median(scores[:, -1]) > most_distance else "", *seen)


def find_input_check(weights: Path) -> InputCheck | None:
    """The check that lies beside a weight file; None where there is none."""
    path = weights.with_name(INPUT_CHECK)
    return InputCheck(path) if path.is_file() else None


def thumbnail(gray: np.ndarray) -> np.ndarray:
    """The picture without its background, in a small square, uint8 (`SIDE_PIXELS`, `SIDE_PIXELS`).

    Args:
        gray: uint8 (H, W).
    """
    for axis in (1, 0):
        sums = cv2.reduce(gray, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        kept = np.flatnonzero(sums >= HEAD_ROWS * sums.max())
        margin = round(MARGIN * (kept[-1] + 1 - kept[0]))
        span = slice(max(0, kept[0] - margin), kept[-1] + 1 + margin)
        gray = gray[span] if axis == 1 else gray[:, span]
    height, width = gray.shape
    side = max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    square = np.pad(gray, ((above, side - height - above), (left, side - width - left)))
    method = cv2.INTER_AREA if side >= SIDE_PIXELS else cv2.INTER_LINEAR
    return cv2.resize(square, (SIDE_PIXELS, SIDE_PIXELS), interpolation=method)


def as_network_input(pictures: np.ndarray | Tensor) -> Tensor:
    """Thumbnails (N, h, w), 0 to 255, as the network takes them: (N, 1, h, w), their brightest parts at 1."""
    scaled = torch.as_tensor(pictures).float() / 255
    sampled = scaled[:, ::2, ::2].flatten(1)  # a quarter is as good, and sorting is what takes time here
    white = sampled.kthvalue(round(WHITE_QUANTILE * sampled.shape[1]), dim=1).values.clamp(min=LEAST_WHITE)
    return (scaled / white[:, None, None]).clamp(0, 1.5)[:, None]
