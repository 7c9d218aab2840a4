"""The slices of a folder's cases, one after the other; a bad file is noted and the stream goes on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import set_track_meta
from monai.transforms import Compose
from torch.utils.data import IterableDataset

from monai_brain.io import Case, Image, Skipped, UnreadableCase, find_cases, read_case
from monai_brain.transforms.load import as_8_bits, refusal_behind, slices_of

Chooser = Callable[[np.ndarray], Sequence[int]]
"""Indices of the slices of a volume, uint8 (C, D, H, W), that the network is shown."""


@dataclass
class OpenCase:
    """A case whose slices are on their way through the network."""

    case: Case
    image: Image
    """As it was read, but uint8."""
    wanted: tuple[int, ...]
    """Slices that the network is shown."""
    warnings: list[str]
    outputs: dict[int, Any] = field(default_factory=dict)
    """What a task keeps of each slice."""

    @property
    def is_complete(self) -> bool:
        """Whether every slice came back."""
        return len(self.outputs) == len(self.wanted)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a slice, pixels."""
        height, width = self.image.pixels.shape[-2:]
        return height, width


class CaseStream(IterableDataset):
    """The slices of a folder's cases, preprocessed, in a stable order.

    Args:
        folder: with everything below it, or a table of cases; None is an empty stream, so that a bundle can be
            checked without input.
        transform: from a slice to the network's input, as `image`.

    Attributes:
        found: every case and every skipped file, in order.
        open: cases that are under way, by their index among the cases.
        refused: cases that cannot be used, by index.
        choose: which slices of a volume are shown; all that are not empty, unless a task says otherwise.
    """

    def __init__(self, folder: str | Path | None, transform: Compose) -> None:
        self.found: list[Case | Skipped] = list(find_cases(folder)) if folder is not None else []
        self.cases = [entry for entry in self.found if isinstance(entry, Case)]
        self.transform = transform
        self.open: dict[int, OpenCase] = {}
        self.refused: dict[int, UnreadableCase] = {}
        self.choose: Chooser = slices_with_signal

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Items with `image` (C, H, W), `case` (index) and `slice` (index in its volume)."""
        set_track_meta(False)
        for index, case in enumerate(self.cases):
            try:
                image = as_8_bits(read_case(case))
                slices = slices_of(image)
                wanted = tuple(self.choose(image.pixels)) if image.kind == "volume" else (0,)
                self.open[index] = OpenCase(case, image, wanted, list(image.warnings))
                for position in wanted:
                    item = self.transform({"image": slices[position]})
                    self._warn(index, item)
                    yield {"image": item["image"], "case": index, "slice": position}
            except Exception as error:
                self.open.pop(index, None)
                self.refused[index] = refusal_behind(error) or UnreadableCase(
                    "unreadable", f"preprocessing failed ({type(error).__name__})"
                )

    def _warn(self, index: int, item: Mapping[str, Any]) -> None:
        noted = self.open[index].warnings
        noted += [code for code in item.get("image_warnings", ()) if code not in noted]


def slices_with_signal(volume: np.ndarray) -> list[int]:
    """Slices that hold more than one value; at least one of the volume."""
    flat = volume.reshape(*volume.shape[:2], -1)
    has_signal = (flat.max(axis=-1) > flat.min(axis=-1)).any(axis=0)
    return np.flatnonzero(has_signal).tolist() or [volume.shape[1] // 2]
