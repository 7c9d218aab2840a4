import numpy as np
import pytest

from monai_brain.data.duplicates import Fingerprint, clusters, fingerprint, pairs_within
from monai_brain.io import Case
from monai_brain.io.write import write_png


def hashes(*distances):
    """Hashes, each with this many bits set, so that two differ by the difference of their numbers."""
    bits = np.zeros((len(distances), 256), np.uint8)
    for row, ones in zip(bits, distances, strict=True):
        row[:ones] = 1
    return np.packbits(bits, axis=1)


def test_pairs_are_those_within_the_distance():
    assert pairs_within(hashes(0, 4, 9, 100), 5).tolist() == [[0, 1], [1, 2]]


def test_pairs_do_not_depend_on_the_chunk():
    bits = np.random.default_rng(0).integers(0, 256, (50, 32), dtype=np.uint8)
    expected = pairs_within(bits, 120)
    assert len(expected)
    for rows in (1, 7, 50):
        np.testing.assert_array_equal(pairs_within(bits, 120, rows_at_once=rows), expected)


def test_slices_are_clustered_by_hash_or_by_sight_and_linkage_is_single():
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)
    noise[4] = noise[3][:, ::-1]  # the mirror image of another, whose hash is far away
    prints = [Fingerprint("", bits, own) for bits, own in zip(hashes(0, 30, 60, 200, 91, 150), noise, strict=True)]
    assert clusters(prints, 30).tolist() == [0, 0, 0, 3, 3, 5]


def test_copy_in_another_format_and_size_is_a_near_duplicate(tmp_path, phantom):
    import cv2

    image = phantom(0, 3, 128)
    write_png(tmp_path / "a.png", image)
    cv2.imwrite(str(tmp_path / "b.jpg"), cv2.resize(image, (160, 160)))
    write_png(tmp_path / "c.png", phantom(2, 9, 128)[::-1])
    a, b, c = (fingerprint(Case(n, (tmp_path / n,), "slice")) for n in ("a.png", "b.jpg", "c.png"))
    assert a.sha256 != b.sha256
    assert np.bitwise_count(a.bits ^ b.bits).sum() <= 30 < np.bitwise_count(a.bits ^ c.bits).sum()


def test_unreadable_file_has_a_refusal(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    found = fingerprint(Case("a.png", (tmp_path / "a.png",), "slice"))
    assert found.refusal is not None
    assert found.refusal.code == "empty_file"


@pytest.mark.parametrize("most", [0, 256])
def test_extreme_distances(most):
    bits = hashes(0, 0, 256)
    assert len(pairs_within(bits, most)) == (1 if most == 0 else 3)
