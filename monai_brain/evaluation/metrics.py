"""Metrics of a classifier, from labels and probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sk

from monai_brain.labels import CLASS_NAMES


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str] = CLASS_NAMES
) -> dict[str, Any]:
    """All metrics of one model on one data set.

    Args:
        labels: class indices, (N,), integer.
        probabilities: rows that add up to 1, (N, K).
        class_names: K names.

    Returns:
        `accuracy`; `macro_f1`, `macro_precision` and `macro_sensitivity`, means over the classes that are present,
        and `absent_classes`; `macro_auc` (one against the rest; None where a class is absent); `per_class`
        with sensitivity (recall), specificity, precision, f1, auc and number of images,
        and `confusion_matrix` (rows are the reference).

    Raises:
        ValueError: shapes do not match, or there is no image.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if len(labels) == 0 or probabilities.shape != (len(labels), len(class_names)):
        raise ValueError(
            f"{len(labels)} labels and probabilities of shape {probabilities.shape}, {len(class_names)} classes"
        )
    predicted = probabilities.argmax(axis=1)
    return {
        "images": len(labels),
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        **_by_class(labels, predicted, probabilities, class_names),
        "confusion_matrix": sk.confusion_matrix(labels, predicted, labels=range(len(class_names))).tolist(),
    }


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean of F1 over the classes that the reference holds.

    Args:
        labels: class indices, (N,).
        predicted: class indices, (N,).
    """
    return float(sk.f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0))


def macro_f1_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """`macro_f1` as ignite's `EpochMetric` calls it: logits (N, K), labels (N,)."""
    return macro_f1(labels.cpu().numpy(), logits.argmax(dim=1).cpu().numpy())


def accuracy_of_logits(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Accuracy as ignite's `EpochMetric` calls it: logits (N, K), labels (N,)."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def _by_class(
    labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    everyone = range(len(class_names))
    precision, recall, f1, number = sk.precision_recall_fscore_support(
        labels, predicted, labels=everyone, zero_division=0
    )
    auc = [_auc(labels == index, probabilities[:, index]) for index in everyone]
    per_class = {
        name: {
            "images": int(number[index]),
            "sensitivity": float(recall[index]),
            "specificity": _specificity(labels != index, predicted != index),
            "precision": float(precision[index]),
            "f1": float(f1[index]),
            "auc": auc[index],
        }
        for index, name in enumerate(class_names)
    }
    present = number > 0
    known = [value for value in auc if value is not None]
    return {
        "macro_f1": float(f1[present].mean()),
        "macro_auc": float(np.mean(known)) if len(known) == len(auc) else None,
        "macro_precision": float(precision[present].mean()),
        "macro_sensitivity": float(recall[present].mean()),
        "absent_classes": [name for index, name in enumerate(class_names) if not present[index]],
        "per_class": per_class,
    }


def _auc(positive: np.ndarray, score: np.ndarray) -> float | None:
    return float(sk.roc_auc_score(positive, score)) if 0 < positive.sum() < len(positive) else None


def _specificity(negative: np.ndarray, called_negative: np.ndarray) -> float | None:
    return float(called_negative[negative].mean()) if negative.any() else None
