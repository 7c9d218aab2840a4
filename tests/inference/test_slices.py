"""Which slices of a volume a class comes from, when that is asked for."""

import pickle

import numpy as np
import pytest

from monai_brain.inference.classification import Classification, InvalidSlices, requested_slices, slices_with_head
from monai_brain.io import UnreadableCase

VOLUME = np.zeros((1, 10, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("slices", "expected"), [("3:6", [3, 4, 5]), ("0:10", list(range(10))), ("9:10", [9]), ("all", list(range(10)))]
)
def test_range_is_that_of_the_canonical_order(slices, expected):
    chooser = pickle.loads(pickle.dumps(requested_slices(slices)))  # as on its way to a worker
    assert chooser(VOLUME) == expected


@pytest.mark.parametrize("slices", ["", "3", "6:3", "3:3", "-2:4", "3:", "a:b", "1:2:3", "ALL", 2460, "1" * 30 + ":2"])
def test_what_is_no_range_is_refused(slices):
    with pytest.raises(InvalidSlices, match="expected a range such as '40:60'"):
        Classification(slices=slices)


def test_range_beyond_a_volume_is_its_coded_error():
    with pytest.raises(UnreadableCase, match="slices 0 to 9") as caught:
        requested_slices("5:11")(VOLUME)
    assert caught.value.code == "slices_out_of_range"


def test_without_a_range_slices_with_enough_head_are_taken():
    assert Classification().choose is slices_with_head
