"""Dice of whole patients while a segmenter trains."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric

from monai_brain.evaluation.segmentation import Overlap, overlap, overlap_by_group


class PatientDice(Metric):
    """Mean over patients of the Dice of all slices of a patient together.

    Args:
        groups: patient of every validation slice, in the order of the data loader, which must not shuffle.
        threshold: of the probability.
        output_transform: gives (logits (N, 1, H, W), masks (N, 1, H, W)).
    """

    def __init__(
        self, groups: Sequence[str], threshold: float = 0.5, output_transform: Callable[[Any], Any] = lambda x: x
    ) -> None:
        self.groups = list(groups)
        self.logit = float(torch.logit(torch.tensor(threshold)))
        self._overlaps: list[Overlap] = []
        super().__init__(output_transform)

    def reset(self) -> None:
        """Begin anew."""
        self._overlaps = []

    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Count the pixels of a batch."""
        logits, masks = output
        predicted, reference = (logits > self.logit).cpu().numpy(), (masks > 0.5).cpu().numpy()
        self._overlaps += [overlap(one, other) for one, other in zip(predicted, reference, strict=True)]

    def compute(self) -> float:
        """The mean.

        Raises:
            NotComputableError: other slices were seen than there are groups for.
        """
        if len(self._overlaps) != len(self.groups):
            raise NotComputableError(f"{len(self._overlaps)} slices were scored, {len(self.groups)} were expected")
        patients = overlap_by_group(self._overlaps, self.groups).values()
        return sum(patient.dice for patient in patients) / len(patients)
