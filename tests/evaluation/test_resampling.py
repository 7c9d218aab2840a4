import importlib
from functools import partial

import numpy as np
import pytest
from sklearn import metrics as sk

from monai_brain.evaluation import resampling
from monai_brain.evaluation.intervals import FEWEST_GROUPS, draw_groups, interval_of
from monai_brain.evaluation.resampling import class_estimates, mean_estimate
from tests.conftest import REPOSITORY

NAMES = ("a", "b", "c")


def random_case(seed, cases=120, groups=30):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, cases)
    probabilities = np.round(random.dirichlet(np.ones(3), cases) + np.eye(3)[labels] * 0.4, 1) + 0.01  # with ties
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return labels, probabilities, random.integers(0, groups, cases)


@pytest.mark.parametrize("seed", range(5))
def test_figures_agree_with_scikit_learn(seed):
    labels, probabilities, groups = random_case(seed)
    predicted = probabilities.argmax(axis=1)
    found = class_estimates(labels, predicted, probabilities, groups.tolist(), NAMES)
    assert found["all"]["accuracy"].value == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["all"]["macro_f1"].value == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    macro_auc = sk.roc_auc_score(labels, probabilities, multi_class="ovr")
    assert found["all"]["macro_auc"].value == pytest.approx(macro_auc)
    for index, name in enumerate(NAMES):
        own = {key: one.value for key, one in found[name].items()}
        assert own["auc"] == pytest.approx(sk.roc_auc_score(labels == index, probabilities[:, index]))
        assert own["f1"] == pytest.approx(sk.f1_score(labels == index, predicted == index))
        assert own["precision"] == pytest.approx(sk.precision_score(labels == index, predicted == index))
        assert own["sensitivity"] == pytest.approx(sk.recall_score(labels == index, predicted == index))
        assert own["specificity"] == pytest.approx(sk.recall_score(labels != index, predicted != index))


def test_resamples_are_those_of_repeated_cases(monkeypatch):
    labels, probabilities, groups = random_case(0)
    predicted = probabilities.argmax(axis=1)
    monkeypatch.setattr(resampling, "draw_groups", partial(draw_groups, draws=60))
    found = class_estimates(labels, predicted, probabilities, groups.tolist(), NAMES)
    names = np.array([str(group) for group in groups])
    codes = np.unique(names, return_inverse=True)[1]
    precision, auc = [], []
    for counts in draw_groups(int(codes.max()) + 1, draws=60):
        drawn = np.repeat(np.arange(len(labels)), counts[codes])
        precision.append((labels[drawn] == 1)[predicted[drawn] == 1].mean())
        auc.append(sk.roc_auc_score(labels[drawn] == 1, probabilities[drawn, 1]))
    for figure, resampled in (("precision", precision), ("auc", auc)):
        own = found["b"][figure]
        expected = interval_of(own.value, np.array(resampled), own.groups, counted=figure == "precision")
        assert tuple(own.interval) == pytest.approx(tuple(expected))


def test_few_groups_get_no_interval_however_many_cases_they_have():
    labels, probabilities, _ = random_case(0, cases=240)
    predicted = probabilities.argmax(axis=1)
    few = class_estimates(labels, predicted, probabilities, (np.arange(240) % (FEWEST_GROUPS - 1)).tolist(), NAMES)
    assert few["all"]["accuracy"].value is not None
    assert all(own.interval is None for figures in few.values() for own in figures.values())
    enough = class_estimates(labels, predicted, probabilities, (np.arange(240) % FEWEST_GROUPS).tolist(), NAMES)
    assert enough["all"]["accuracy"].interval is not None


def test_rare_class_has_no_interval_and_neither_have_means_over_classes():
    labels = np.array([0] * 50 + [1] * 50 + [2] * 3)
    predicted = labels.copy()
    predicted[::7] = (predicted[::7] + 1) % 2
    found = class_estimates(labels, predicted, None, range(103), NAMES)
    assert found["c"]["sensitivity"].interval is None
    assert found["all"]["macro_f1"].interval is None
    assert found["all"]["accuracy"].interval is not None
    assert found["a"]["auc"].value is None


def test_perfect_predictions_on_few_patients_are_not_called_certain():
    labels = np.arange(3).repeat(20)
    found = class_estimates(labels, labels, None, range(60), NAMES)
    low, high = found["a"]["sensitivity"].interval
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 20), abs=0.02)  # as Clopper and Pearson, of 20 patients


def test_undefined_values_count_in_no_mean():
    values = np.array([0.5, np.nan, 1.0])
    assert mean_estimate(values, "abc").value == 0.75
    assert mean_estimate(values, "abc").groups == 2
    assert mean_estimate(np.array([np.nan]), "a").value is None


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts" / "benchmarks"))
    intervals = importlib.import_module("intervals")
    monkeypatch.setattr(intervals, "PATIENTS_OF_TRUTH", 50_000)
    repetitions = 300
    found = intervals.coverage(20, 3.5, repetitions, auc=False)
    chance = 2.6 * np.sqrt(0.93 * 0.07 / repetitions)  # 99 % of trials
    for figure in ("accuracy", "mean Dice"):
        assert 0.93 - chance < found[figure] < 0.97 + chance, (figure, found)
