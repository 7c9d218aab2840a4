import numpy as np
import pytest

from monai_brain.data import similarity
from monai_brain.data.similarity import COPY, ORIENTATIONS, alike, clusters_of, oriented


@pytest.fixture
def pictures(phantom):
    """Twelve different ones at 32x32."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (12, 32, 32)).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(len(ORIENTATIONS)))
def test_copy_is_found_in_every_orientation(pictures, orientation):
    copy = oriented(pictures[3:4], orientation)
    found = alike(np.concatenate([pictures, copy]), COPY)
    assert list(zip(found.first, found.second, strict=True)) == [(3, 12)]
    # which says how to turn the second one back
    np.testing.assert_array_equal(oriented(copy, int(found.orientation[0]))[0], pictures[3])


def test_other_contrast_is_the_same_picture_and_noise_is_another(pictures):
    changed = (pictures[0] * 0.5 + 60).astype(np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (32, 32)).astype(np.uint8)
    found = alike(np.stack([pictures[0], changed, other]), COPY)
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1)]


def test_sets_are_compared_with_each_other_and_not_within(pictures):
    found = alike(pictures[[0, 0, 1]], COPY, against=pictures[[5, 1, 1]])
    assert sorted(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(2, 1), (2, 2)]


def test_pairs_do_not_depend_on_the_block(pictures, monkeypatch):
    blurred = pictures.astype(np.float32).reshape(12, 8, 4, 8, 4).mean((2, 4)).repeat(4, 1).repeat(4, 2)
    many = np.concatenate([blurred, blurred[::-1] + 1])
    expected = alike(many, 0.2)
    assert len(expected.first) > 20
    monkeypatch.setattr(similarity, "ROWS_AT_ONCE", 5)
    for ours, whole in zip(alike(many, 0.2), expected, strict=True):
        np.testing.assert_array_equal(ours, whole)
    best = expected.at_least(COPY)
    assert len(best.first) == 12
    assert best.correlation.min() >= COPY > expected.correlation[12]


def test_empty_picture_is_like_none(pictures):
    assert len(alike(np.zeros((4, 32, 32), np.uint8), 0.5).first) == 0


def test_linkage_is_single():
    assert clusters_of(6, np.array([[1, 2], [2, 4]]), np.array([[4, 5]])).tolist() == [0, 1, 1, 3, 1, 1]
