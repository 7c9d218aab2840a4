import numpy as np
import pytest
import torch

from monai_brain.evaluation.intervals import group_bootstrap
from monai_brain.evaluation.metrics import accuracy_of_logits, classification_metrics, macro_f1, macro_f1_of_logits

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 3])
PREDICTED = np.array([0, 0, 1, 1, 1, 2, 0, 3])
PROBABILITIES = np.eye(4)[PREDICTED] * 0.7 + 0.075


def test_figures_agree_with_counting_by_hand():
    scores = classification_metrics(LABELS, PROBABILITIES)
    assert scores["accuracy"] == 6 / 8
    glioma = scores["per_class"]["glioma"]
    assert (glioma["sensitivity"], glioma["precision"], glioma["specificity"]) == pytest.approx((2 / 3, 2 / 3, 4 / 5))
    f1 = [2 / 3, 2 * (2 / 3) / (5 / 3), 2 * 0.5 / 1.5, 1.0]
    assert scores["macro_f1"] == pytest.approx(np.mean(f1))
    assert scores["confusion_matrix"] == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_auc_is_the_share_of_ordered_pairs():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), size=30)
    labels = random.integers(0, 4, 30)
    score, positive = probabilities[:, 1], labels == 1
    ordered = np.mean([p > n for p in score[positive] for n in score[~positive]])
    assert classification_metrics(labels, probabilities)["per_class"]["meningioma"]["auc"] == pytest.approx(ordered)


def test_absent_class_has_no_auc():
    scores = classification_metrics(LABELS[:5], np.eye(4)[LABELS[:5]])
    assert scores["macro_auc"] is None


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="4 classes"):
        classification_metrics(LABELS, PROBABILITIES[:, :3])


def test_metrics_of_logits_equal_those_of_probabilities():
    scores = classification_metrics(LABELS, PROBABILITIES)
    logits, labels = torch.tensor(np.log(PROBABILITIES)), torch.tensor(LABELS)
    assert macro_f1_of_logits(logits, labels) == scores["macro_f1"]
    assert accuracy_of_logits(logits, labels) == scores["accuracy"]


def test_interval_widens_when_images_come_in_groups():
    values = np.random.default_rng(0).normal(size=40).repeat(10)
    single = group_bootstrap(lambda i: float(values[i].mean()), range(400))
    grouped = group_bootstrap(lambda i: float(values[i].mean()), np.arange(400) // 10)
    assert grouped.high - grouped.low > 2 * (single.high - single.low)
    assert grouped.low < values.mean() < grouped.high


def test_perfect_classifier_has_a_perfect_interval_on_few_patients():
    labels = np.arange(4).repeat(20)
    groups = np.arange(8).repeat(10)
    assert group_bootstrap(lambda i: macro_f1(labels[i], labels[i]), groups, strata=labels.tolist()) == (1.0, 1.0)


def test_interval_covers_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    hits = 0
    for trial in range(60):
        values = random.normal(size=50)
        low, high = group_bootstrap(lambda i, v=values: float(v[i].mean()), range(50), draws=200, seed=trial)
        hits += low < 0 < high
    assert 50 <= hits <= 60


def test_class_without_images_is_named_and_counts_in_no_mean():
    labels = np.array([0, 1, 3, 3])
    perfect = np.eye(4)[labels]
    metrics = classification_metrics(labels, perfect)
    assert metrics["macro_f1"] == metrics["macro_precision"] == metrics["macro_sensitivity"] == 1
    assert metrics["absent_classes"] == ["notumor"]
    wrong = np.eye(4)[[2, 1, 3, 3]]  # called what nobody has
    assert classification_metrics(labels, wrong)["macro_f1"] == pytest.approx(2 / 3)
