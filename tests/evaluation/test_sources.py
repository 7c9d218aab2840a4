import numpy as np
import pytest

from monai_brain.evaluation.sources import by_group, by_source, tumor_classes

ITEMS = [
    {"label": 0, "source": "a", "sequence": "t1c"},
    {"label": 0, "source": "a", "sequence": "t1c"},
    {"label": 2, "source": "b"},
    {"label": 2, "source": "b"},
    {"label": 2, "source": "a", "sequence": "t1c"},
]
PREDICTED = np.array([0, 1, 2, 2, 0])  # tells the sources apart: "a" has a tumor
LABELS = np.array([item["label"] for item in ITEMS])


def test_table_by_source_shows_a_shortcut():
    rows = {(row["source"], row["tumor"]): row for row in by_source(ITEMS, PREDICTED, no_tumor=2)}
    assert rows["a", False]["called_tumor"] == 1
    assert rows["b", False]["called_tumor"] == 0
    assert (rows["a", True]["accuracy"], rows["a", True]["called_tumor"], rows["a", True]["images"]) == (0.5, 1, 2)


def test_no_table_where_no_source_is_known():
    assert by_source([{"label": 0}], np.array([0]), no_tumor=2) == []
    assert by_source(ITEMS, PREDICTED, no_tumor=None) == []


def test_slices_with_tumor_count_among_all_classes():
    found = tumor_classes(LABELS, PREDICTED, range(5), no_tumor=2)
    assert found["images"] == 2
    assert found["accuracy"] == 0.5
    assert tumor_classes(np.array([2, 2]), np.array([2, 0]), [0, 1], no_tumor=2) is None
    assert tumor_classes(LABELS, PREDICTED, range(5), no_tumor=None) is None


def test_groups_are_judged_by_their_mean_probability():
    probabilities = np.eye(4)[[0, 1, 2, 2, 0]] * 0.6 + 0.1
    probabilities[1] = [0.35, 0.4, 0.15, 0.1]  # the other slice of its group outweighs it
    found = by_group(LABELS, probabilities, ["p", "p", "q", "q", "alone"])
    assert (found["groups"], found["slices"], found["accuracy"]) == (2, 4, 1)
    assert by_group(LABELS, probabilities, range(5)) is None


@pytest.mark.parametrize("groups", [["p"] * 5])
def test_groups_of_several_classes_have_no_verdict(groups):
    assert by_group(LABELS, np.eye(4)[PREDICTED], groups) is None
