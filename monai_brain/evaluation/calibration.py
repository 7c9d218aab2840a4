"""How well probabilities are calibrated: temperature, reliability, calibration error, Brier score."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

SMALLEST_PROBABILITY = 5e-7
"""Stands for a probability of 0 in tables, which have six decimals."""

BINS = 15
"""Of equal width, as in the source of the calibration error."""

COLDEST, HOTTEST = 0.05, 20.0
"""Range of the search; a fit that ends at a limit means that the probabilities are useless."""


class Bin(NamedTuple):
    """Predictions whose highest probability lies in (low, high]."""

    low: float
    high: float
    number: int
    confidence: float
    """Mean of the highest probability."""
    accuracy: float


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (N, K) after temperature scaling, (N, K), float64.

    The softmax of log-probabilities is that of the logits, so probabilities are enough.
    """
    return np.asarray(softmax(_log(probabilities) / temperature, axis=1))


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest negative log-likelihood.

    Args:
        probabilities: before scaling, (N, K).
        labels: class indices, (N,).

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2.
    """
    logits, rows = _log(probabilities), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels].mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[Bin]:
    """How often the class with the highest probability is right, by that probability; empty bins are left out.

    Args:
        probabilities: (N, K).
        labels: class indices, (N,).
        bins: of equal width between 0 and 1.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = []
    for index in np.unique(place):
        own = place == index
        figures = float(confidence[own].mean()), float(right[own].mean())
        found.append(Bin(index / bins, (index + 1) / bins, int(own.sum()), *figures))
    return found


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (ECE): mean gap between confidence and accuracy of the bins of `reliability`.

    Bins are weighted by their number of predictions. ECE is never negative, so chance alone makes it larger than 0.

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    found = reliability(probabilities, labels, bins)
    return sum(own.number * abs(own.confidence - own.accuracy) for own in found) / len(labels)


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over predictions of the squared error summed over classes, from 0 to 2.

    Source: G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    wanted = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - wanted).sum(axis=1).mean())


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities, np.float64), SMALLEST_PROBABILITY))
