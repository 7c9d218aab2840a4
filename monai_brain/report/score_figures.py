"""Figures of predictions that are scored as they are: how sure, how often answered, how well outlined."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monai_brain.evaluation.areas import AreaAgreement
from monai_brain.evaluation.calibration import Bin
from monai_brain.report.figures import ACCURACY_COLOR, TRAINING_COLOR, VALIDATION_COLOR, new_figure, save_figure


def draw_coverage(shares: np.ndarray, accuracy: np.ndarray, answered: tuple[float, float] | None, path: Path) -> None:
    """Accuracy of the surest cases against the share that they are.

    Args:
        shares: of the cases, ascending, (M,).
        accuracy: of these, (M,).
        answered: share that the software answered by itself, and its accuracy there; None: all of them.
        path: PNG file.
    """
    figure = new_figure(5.6, 4)
    axes = figure.subplots()
    axes.plot(shares, accuracy, color=TRAINING_COLOR, label="the surest cases")
    low = float(accuracy.min())
    if answered is not None:
        axes.plot(*answered, "o", color=VALIDATION_COLOR, label=f"answered by the software ({answered[0]:.1%})")
        low = min(low, answered[1])
    axes.set(title="Accuracy against coverage", xlabel="share of cases answered", ylabel="accuracy of these")
    axes.set(xlim=(0, 1.02), ylim=(max(0, low - 0.05), 1.02))
    axes.legend(edgecolor="none", framealpha=1, loc="lower left")
    save_figure(figure, path)


def draw_reliability(bins: Sequence[Bin], error: float, path: Path) -> None:
    """Accuracy against confidence; the size of a point is its number of cases.

    Args:
        bins: see `evaluation.calibration.reliability`.
        error: expected calibration error.
        path: PNG file.
    """
    figure = new_figure(4.8, 4.4)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
    sizes = [12 + 160 * own.number / max(one.number for one in bins) for own in bins]
    axes.plot([own.confidence for own in bins], [own.accuracy for own in bins], color=TRAINING_COLOR, linewidth=1)
    axes.scatter([own.confidence for own in bins], [own.accuracy for own in bins], s=sizes, color=TRAINING_COLOR)
    axes.set(title=f"Reliability (ECE {error:.3f})", xlabel="mean confidence", ylabel="accuracy", aspect="equal")
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
    save_figure(figure, path)


def draw_dice(dice: Sequence[float], what: str, path: Path) -> None:
    """How many patients, or cases, have which Dice.

    Args:
        dice: of each.
        what: is counted.
        path: PNG file.
    """
    figure = new_figure(5.6, 3.4)
    axes = figure.subplots()
    axes.hist(dice, bins=np.linspace(0, 1, 21).tolist(), color=ACCURACY_COLOR, edgecolor="white")
    axes.set(title="Dice", xlabel="Dice", ylabel=what, xlim=(0, 1))
    save_figure(figure, path)


def draw_bland_altman(
    predicted: Sequence[float], reference: Sequence[float], agreement: AreaAgreement, path: Path
) -> None:
    """Difference of areas against their mean, with bias and limits of agreement.

    Args:
        predicted: areas of slices, pixels.
        reference: likewise.
        agreement: of these.
        path: PNG file.
    """
    figure = new_figure(6, 4)
    axes = figure.subplots()
    first, second = np.asarray(predicted, float), np.asarray(reference, float)
    axes.scatter((first + second) / 2, first - second, s=8, alpha=0.5, color=TRAINING_COLOR, edgecolors="none")
    for value, style, words in (
        (agreement.bias, "-", f"bias {agreement.bias:.0f}"),
        (agreement.low, "--", f"limits of agreement {agreement.low:.0f}, {agreement.high:.0f}"),
        (agreement.high, "--", None),
    ):
        axes.axhline(value, color=VALIDATION_COLOR, linestyle=style, linewidth=1, label=words)
    axes.set(
        title="Areas of slices with tumor", xlabel="mean of both, pixels", ylabel="predicted minus reference, pixels"
    )
    axes.legend(edgecolor="none", framealpha=1)
    save_figure(figure, path)
