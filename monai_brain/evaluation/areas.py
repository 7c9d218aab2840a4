"""Agreement of predicted tumor sizes with the reference, and comparison of two sets of masks."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from monai_brain.evaluation.intervals import interval_over_groups

LIMITS_OF_AGREEMENT = 1.96
"""Standard deviations to each side of the mean difference, between which 95% of normal differences lie."""

SIZES = ("small", "medium", "large")
"""Thirds of the patients, by the pixels of their reference."""


class AreaAgreement(NamedTuple):
    """Differences of predicted and reference areas, pixels."""

    number: int
    bias: float
    """Mean difference; above 0 means oversegmented."""
    low: float
    high: float
    """Limits of agreement."""


def area_agreement(predicted: Sequence[float], reference: Sequence[float]) -> AreaAgreement:
    """Mean difference and limits of agreement.

    Args:
        predicted: areas of N slices.
        reference: likewise.

    Source: J. M. Bland, D. G. Altman, Lancet 1986. It ignores that slices of a patient are not
    independent: the limits describe these slices.
    """
    differences = np.asarray(predicted, float) - np.asarray(reference, float)
    bias, spread = float(differences.mean()), float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return AreaAgreement(
        len(differences), bias, bias - LIMITS_OF_AGREEMENT * spread, bias + LIMITS_OF_AGREEMENT * spread
    )


def size_of_each(reference_pixels: Sequence[float]) -> list[str]:
    """`SIZES` of patients: thirds of them by their rank.

    Args:
        reference_pixels: of each patient's tumor, all slices together.
    """
    ranks = np.argsort(np.argsort(reference_pixels, kind="stable"), kind="stable")
    return [SIZES[rank * len(SIZES) // len(ranks)] for rank in ranks.tolist()]


class Difference(NamedTuple):
    """Mean Dice of one set of masks minus that of another, over the same patients."""

    patients: int
    mean: float
    interval: list[float] | None
    """None: too few patients."""
    better: int
    """Number of patients whose Dice is higher in the first set."""


def paired_difference(dice: Sequence[float], other: Sequence[float]) -> Difference:
    """Of patients that both scored, in the same order; the interval is a bootstrap over patients."""
    differences = np.asarray(dice, float) - np.asarray(other, float)
    interval = interval_over_groups(lambda drawn: float(differences[drawn].mean()), range(len(differences)))
    return Difference(len(differences), float(differences.mean()), interval, int((differences > 0).sum()))
