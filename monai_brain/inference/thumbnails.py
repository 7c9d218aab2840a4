"""Small plain pictures of abstentions and of the least certain cases, for pages; bounded, however many there are."""

import contextlib
import heapq
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from monai_brain.inference.prediction import ABSTAINED, Prediction
from monai_brain.inference.stream import OpenCase
from monai_brain.inference.task import short_name
from monai_brain.io.write import named

THUMBNAILS = "thumbnails"
"""Folder in the output folder."""

LONG_SIDE_PIXELS, JPEG_QUALITY = 384, 90


class Thumbnails:
    """Writes a case's picture while the case is among the `count` least certain, or the first `count` abstentions.

    So most cases cost nothing: of n cases in a random order, about count * (1 + ln(n / count)) are written.

    Args:
        folder: output folder of the run.
        count: at most so many are kept of each.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self.kept: dict[str, list[tuple[float, str]]] = {ABSTAINED: [], "ok": []}
        """By status, a heap, the most certain on top, by the negative of certainty."""

    def begin(self, rows: Iterable[Prediction]) -> None:
        """Take note of the cases that were done before."""
        for row in rows:
            self._is_among(row)

    def consider(self, row: Prediction, opened: OpenCase) -> None:
        """Write the picture of a case if it is among the least certain; of a volume, of the slice that decided."""
        if not self._is_among(row):
            return
        middle = opened.wanted[len(opened.wanted) // 2]
        position = next((row.values[n] for n in ("deciding_slice", "largest_slice") if n in row.values), middle)
        path = self.folder / name_of(row)
        content = _encoded(opened.gray(int(position)), opened.aspect)
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):  # the page does without it
            path.parent.mkdir(parents=True, exist_ok=True)
            # a kill in the middle leaves the case without its row, so that it is written again
            with named(path):
                path.write_bytes(content)

    def end(self) -> None:
        """Remove the pictures of cases that are no longer among the least certain."""
        kept = {self.folder / _name(path) for heap in self.kept.values() for _, path in heap}
        for picture in (self.folder / THUMBNAILS).rglob("*.jpg"):
            if picture not in kept and not picture.is_dir():
                picture.unlink()

    def _is_among(self, row: Prediction) -> bool:
        heap = self.kept.get(row.status)
        if heap is None:
            return False
        entry = (-row.certainty, row.path)
        if len(heap) < self.count:
            heapq.heappush(heap, entry)
            return True
        return heapq.heappushpop(heap, entry) != entry


def name_of(row: Prediction) -> str:
    """Path of a case's picture, relative to the output folder."""
    return _name(row.path)


def _name(case_id: str) -> str:
    return f"{THUMBNAILS}/{short_name(case_id)}.jpg"


def _encoded(gray: np.ndarray, aspect: float) -> bytes:
    """JPEG of a slice (H, W), uint8; `aspect` is the height of a pixel over its width."""
    height, width = gray.shape[0] * max(aspect, 1.0), gray.shape[1] * max(1 / aspect, 1.0)
    scale = min(1.0, LONG_SIDE_PIXELS / max(height, width))  # pages enlarge what is small
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
