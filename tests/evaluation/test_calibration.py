"""Calibration and sets against other implementations, and against what they promise."""

import itertools

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from monai_brain.evaluation.calibration import (
    brier_score,
    calibration_error,
    fit_temperature,
    reliability,
    scaled,
)
from monai_brain.evaluation.calibration_file import (
    PATIENTS,
    InvalidCalibration,
    calibration_from,
    calibration_of,
    read_calibration,
    write_calibration,
)
from monai_brain.evaluation.conformal import COVERAGES, InvalidCoverage, coverage_step, least_probabilities
from monai_brain.evaluation.cross_fitting import Labeled, figures_by_folds
from monai_brain.evaluation.intervals import with_interval
from monai_brain.evaluation.site import share
from monai_brain.evaluation.verdict import tumor_slices
from monai_brain.labels import CLASS_NAMES


def overconfident(seed, count=4000, sharpness=2.0):
    """Probabilities that are `sharpness` times too sharp, and labels drawn from the true ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (count, 4))
    true = softmax(logits, axis=1)
    labels = (true.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    return softmax(logits * sharpness, axis=1), labels, true


def of_patients(seed, patients=300):
    """Slices of patients, which are alike: a patient may be hard in all of its slices."""
    random = np.random.default_rng(seed)
    logits, labels, groups = [], [], []
    for patient in range(patients):
        hard = random.normal(0, 1.5, 4)
        for _ in range(random.integers(1, 12)):
            own = hard + random.normal(0, 0.3, 4)
            own[patient % 4] += 2
            logits.append(own)
            labels.append(patient % 4)
            groups.append(f"{seed}-{patient}")
    return softmax(np.array(logits), axis=1), np.array(labels), groups


def test_temperature_undoes_what_made_the_probabilities_too_sharp():
    probabilities, labels, true = overconfident(0)
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(2, rel=0.05)
    assert np.abs(scaled(probabilities, 2.0) - true).max() < 1e-3  # where the sharp ones are below the smallest
    losses = [log_loss(labels, scaled(probabilities, temperature * factor)) for factor in (0.9, 1, 1.1)]
    assert losses[1] == min(losses)
    assert (
        calibration_error(scaled(probabilities, temperature), labels) < 0.03 < calibration_error(probabilities, labels)
    )


@pytest.mark.parametrize("seed", range(5))
def test_reliability_and_brier_score_agree_with_scikit_learn(seed):
    probabilities, labels, _ = overconfident(seed, 500)
    right = probabilities.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(axis=1), n_bins=15)
    bins = reliability(probabilities, labels)
    assert [own.accuracy for own in bins] == pytest.approx(accuracy.tolist())
    assert [own.confidence for own in bins] == pytest.approx(confidence.tolist())
    assert sum(own.number for own in bins) == 500
    expected = sum(brier_score_loss(labels == index, probabilities[:, index]) for index in range(4))
    assert brier_score(probabilities, labels) == pytest.approx(expected)


def test_sets_hold_the_class_of_a_slice_of_a_new_patient_as_often_as_asked_for():
    """Over repeated fits, by class; slices counted as if they were independent would fall short."""
    covered = {0.8: [], 0.9: []}
    for seed in range(60):
        fit, new = of_patients(seed, 60), of_patients(1000 + seed, 60)
        for coverage, found in covered.items():
            least = least_probabilities(*fit, coverage)
            probabilities, labels, groups = new
            hit = probabilities[np.arange(len(labels)), labels] >= least[labels]
            found.append(share(hit, groups, np.ones(len(hit), bool))[0])
    for coverage, found in covered.items():
        # with 15 patients of a class, a step is 1 / 16
        assert coverage - 0.01 < np.mean(found) < coverage + 1 / 16 + 0.01


def test_class_of_too_few_patients_is_in_every_set():
    probabilities, labels, groups = of_patients(0, 32)  # eight of each class: 8 / 9 is less than 0.9
    assert least_probabilities(probabilities, labels, groups, 0.9).tolist() == [0, 0, 0, 0]
    assert (least_probabilities(probabilities, labels, groups, 0.88) > 0).all()


def test_coverage_between_two_steps_is_the_larger_one():
    assert COVERAGES[coverage_step(0.9)] == 0.9
    assert COVERAGES[coverage_step(0.901)] == 0.91
    with pytest.raises(InvalidCoverage, match="expected a share"):
        coverage_step(0.995)


def test_a_head_with_slices_above_and_below_its_tumor_is_called_a_tumor():
    no_tumor, glioma = [0.1, 0.05, 0.8, 0.05], [0.7, 0.1, 0.1, 0.1]
    assert tumor_slices(np.array([no_tumor] * 6 + [glioma] * 3), 2).argmax() == 0
    assert tumor_slices(np.array([no_tumor] * 9 + [glioma]), 2).argmax() == 2


def test_calibration_is_read_as_it_was_written_and_for_its_weights_only(tmp_path):
    probabilities, labels, groups = of_patients(0)
    calibration = calibration_from(probabilities, labels, groups, CLASS_NAMES, "abc", {"source": "test"})
    write_calibration(tmp_path / "c.json", calibration)
    again = read_calibration(tmp_path / "c.json", CLASS_NAMES, "abc")
    assert again.content() == calibration.content()
    assert again.fitted_on["by_class"]["glioma"]["groups"] == 75
    with pytest.raises(InvalidCalibration, match="other weights"):
        read_calibration(tmp_path / "c.json", CLASS_NAMES, "def")
    with pytest.raises(InvalidCalibration, match="classes"):
        read_calibration(tmp_path / "c.json", ("a", "b", "c", "d"), "abc")
    damaged = calibration.content() | {"temperature": float("nan")}
    with pytest.raises(InvalidCalibration, match="damaged"):
        calibration_of(damaged, "c.json")


def test_sets_of_a_larger_coverage_hold_those_of_a_smaller_one():
    probabilities, labels, groups = of_patients(3)
    calibration = calibration_from(probabilities, labels, groups, CLASS_NAMES, "", {})
    for row in calibration.scaled(probabilities)[:50]:
        sets = [set(calibration.names(row, coverage, PATIENTS)) for coverage in (0.6, 0.8, 0.9, 0.99)]
        assert all(small <= large for small, large in itertools.pairwise(sets))


def test_figures_by_folds_are_of_patients_that_the_fit_did_not_see():
    probabilities, labels, groups = of_patients(5, 400)
    sharp = scaled(probabilities, 0.4)
    folds = np.array([hash_of(group) % 5 for group in groups])
    found = figures_by_folds(Labeled(sharp, labels, groups, folds, CLASS_NAMES))
    before, after = (found["calibration"][name] for name in ("before", "after"))
    assert after["calibration_error"] < 0.5 * before["calibration_error"]
    assert after["brier_score"] < before["brier_score"]
    for row in found["sets_of_slices"]:
        for own in row["by_class"].values():
            low, high = own["interval"]
            assert low - 0.05 < row["asked"] < high + 0.05
    sizes = [row["mean_size"] for row in found["sets_of_slices"]]
    assert sizes == sorted(sizes)
    assert {row["groups"] for row in found["verdicts"]} == {sum(np.unique(groups, return_counts=True)[1] > 1)}


def test_sets_of_a_class_with_few_groups_have_no_interval():
    probabilities, labels, groups = of_patients(5, 40)
    rare = labels == 2
    kept = ~rare | np.isin(groups, np.unique(np.array(groups)[rare])[:4])
    few = Labeled(
        probabilities[kept],
        labels[kept],
        [g for g, own in zip(groups, kept, strict=True) if own],
        np.array([hash_of(group) % 2 for group in groups])[kept],
        CLASS_NAMES,
    )
    own = figures_by_folds(few)["sets_of_slices"][0]["by_class"][CLASS_NAMES[2]]
    assert (own["groups"], own["interval"]) == (4, None)
    assert with_interval(own["covered"], own["interval"]).endswith("(no interval)")


def test_share_of_groups_has_the_exact_binomial_interval():
    for hits in (0, 7, 20):
        found = share(np.arange(20) < hits, range(20), np.ones(20, bool))
        exact = binomtest(hits, 20).proportion_ci(method="exact")
        assert found == pytest.approx([hits / 20, exact.low, exact.high])
    # copies of a case say nothing new
    twice = share(np.repeat(np.arange(20) < 7, 3), np.repeat(np.arange(20), 3).tolist(), np.ones(60, bool))
    assert twice == pytest.approx(share(np.arange(20) < 7, range(20), np.ones(20, bool)))


def hash_of(group):
    return int(group.partition("-")[2])
