import json

import numpy as np
import pytest

from monai_brain.data.duplicates import fingerprints
from monai_brain.data.provenance import CHENG, SAME_SLICE_BITS, appearance_hash, identify
from monai_brain.data.similarity import MIRRORED, oriented
from monai_brain.io import Case


def test_hash_withstands_brightness_and_noise_and_tells_pictures_apart():
    random = np.random.default_rng(0)
    pictures = random.integers(40, 160, (8, 32, 32)).astype(np.uint8)
    changed = (pictures * 1.3 + random.normal(0, 4, pictures.shape)).clip(0, 255).astype(np.uint8)
    distance = np.bitwise_count(appearance_hash(pictures)[:, None] ^ appearance_hash(changed)[None]).sum(2)
    assert distance.diagonal().max() <= SAME_SLICE_BITS < distance[~np.eye(8, dtype=bool)].min()


def test_unknown_pictures_are_not_identified():
    noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32), dtype=np.uint8)
    assert identify(noise) == [None] * 20


@pytest.mark.real_data
def test_public_slices_are_identified_also_mirrored(real_data):
    folds = json.loads((real_data.parent / "splits" / "classification_v2.json").read_text(encoding="utf-8"))
    items = [item for item in folds["items"] if item["source"] == "cheng"][::60]
    cases = [Case(i["image"], (real_data / "nickparvar_224" / i["image"],), "slice") for i in items]
    thumbnails = np.stack([found.thumbnail for found in fingerprints(cases, workers=1)])
    for flipped, own in ((False, thumbnails), (True, oriented(thumbnails, MIRRORED))):
        found = identify(own)
        expected = [(CHENG, i["cheng_index"], i["fold"], bool(i["mirrored"]) != flipped) for i in items]
        assert np.mean([tuple(known or ()) == wanted for known, wanted in zip(found, expected, strict=True)]) >= 0.98
