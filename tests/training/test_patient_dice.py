import pytest
import torch
from ignite.exceptions import NotComputableError

from monai_brain.training.patient_dice import PatientDice


def batch(*pairs):
    """Logits and masks of 1x4 pixels."""
    logits = torch.tensor([[[p]] for p, _ in pairs], dtype=torch.float32) * 20 - 10
    return logits, torch.tensor([[[m]] for _, m in pairs], dtype=torch.float32)


def test_slices_of_a_patient_are_one_volume_and_patients_count_the_same():
    metric = PatientDice(["a", "b", "a"])
    metric.update(batch(([1, 1, 0, 0], [1, 1, 0, 0]), ([0, 0, 0, 0], [0, 0, 0, 0])))
    metric.update(batch(([1, 0, 0, 0], [0, 1, 0, 0])))
    assert metric.compute() == pytest.approx((2 * 2 / (3 + 3) + 1) / 2)


def test_threshold_is_of_the_probability():
    logits, masks = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)  # probability 0.62
    for threshold, expected in ((0.5, 1.0), (0.7, 0.0)):
        metric = PatientDice(["a"], threshold)
        metric.update((logits, masks))
        assert metric.compute() == expected


def test_other_slices_than_expected_are_refused_and_reset_forgets():
    metric = PatientDice(["a", "b"])
    metric.update(batch(([1, 1, 0, 0], [1, 1, 0, 0])))
    with pytest.raises(NotComputableError, match="1 slices were scored, 2 were expected"):
        metric.compute()
    metric.reset()
    metric.update(batch(([1, 1, 0, 0], [1, 1, 0, 0]), ([1, 1, 0, 0], [1, 1, 0, 0])))
    assert metric.compute() == 1
