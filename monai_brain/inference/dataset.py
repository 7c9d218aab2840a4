"""The cases of a folder as a data set that never fails."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import set_track_meta
from monai.transforms import Compose
from torch.utils.data import Dataset, default_collate

from monai_brain.io import Case, Skipped, UnreadableCase, find_cases
from monai_brain.transforms.load import refusal_behind


class CaseDataset(Dataset):
    """The cases of a folder, preprocessed; an unreadable one becomes a black placeholder with its code.

    Args:
        folder: with everything below it; None is an empty data set, so that a bundle can be checked without input.
        transform: from the case to the network's input.
        image_shape: of the network's input, (C, H, W).
    """

    def __init__(self, folder: str | Path | None, transform: Compose, image_shape: Sequence[int]) -> None:
        self.found: list[Case | Skipped] = list(find_cases(folder)) if folder is not None else []
        self.cases = [entry for entry in self.found if isinstance(entry, Case)]
        self.transform = transform
        self.image_shape = tuple(image_shape)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        set_track_meta(False)  # per process: workers do not inherit it everywhere
        try:
            item = self.transform({"image": self.cases[index]})
        except Exception as error:
            refusal = refusal_behind(error) or UnreadableCase(
                "unreadable", f"preprocessing failed ({type(error).__name__})"
            )
            return {
                "image": torch.zeros(self.image_shape),
                "index": index,
                "code": refusal.code,
                "warnings": "",
            }
        return {
            "image": torch.as_tensor(item["image"]),
            "index": index,
            "code": "",
            "warnings": " ".join(item.get("image_warnings", ())),
        }


def collate_cases(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch of `CaseDataset`; under a name, so that worker processes can import it."""
    return default_collate(list(items))
