import json
from collections import Counter

import numpy as np
import pytest

from monai_brain.data.splits import (
    PARTS,
    InvalidDatalist,
    OtherClasses,
    check_hashes,
    class_weights,
    load_datalist,
    read_class_names,
    read_datalist,
    refuse_other_classes,
    split_groups,
)
from monai_brain.io.write import write_json
from monai_brain.labels import CLASS_NAMES


def example(groups_per_class=40, seed=0):
    random = np.random.default_rng(seed)
    labels, groups = [], []
    for label in range(4):
        for group in range(groups_per_class):
            size = int(random.integers(1, 9))
            labels += [label] * size
            groups += [(label, group)] * size
    return labels, groups


def test_no_group_is_in_two_parts():
    labels, groups = example()
    parts = split_groups(labels, groups)
    assert all(len({p for p, g in zip(parts, groups, strict=True) if g == group}) == 1 for group in set(groups))


def test_every_class_is_split_70_15_15():
    labels, groups = example()
    parts = split_groups(labels, groups)
    for label in range(4):
        counts = Counter(p for p, own in zip(parts, labels, strict=True) if own == label)
        shares = [counts[part] / sum(counts.values()) for part in PARTS]
        np.testing.assert_allclose(shares, [0.70, 0.15, 0.15], atol=0.03)


def test_seed_decides_the_split():
    labels, groups = example()
    assert split_groups(labels, groups, seed=1) == split_groups(labels, groups, seed=1)
    assert split_groups(labels, groups, seed=1) != split_groups(labels, groups, seed=2)


def test_few_groups_fill_every_part():
    assert Counter(split_groups([0] * 6, ["a", "a", "b", "b", "c", "c"])) == {"training": 2, "validation": 2, "test": 2}


def test_fewer_groups_than_parts_is_an_error():
    with pytest.raises(ValueError, match=r"class glioma: 2 group\(s\) for 3 parts"):
        split_groups([0, 0], ["a", "b"])


def test_fractions_must_add_up():
    with pytest.raises(ValueError, match="do not add up"):
        split_groups([0], ["a"], fractions=(0.5, 0.5, 0.5))


def test_missing_datalist_says_how_to_make_one(tmp_path):
    with pytest.raises(InvalidDatalist, match="monai-brain index"):
        read_datalist(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "has none of"),
        (json.dumps({"training": [], "class_names": ["a"]}), "expected at least two names"),
        (json.dumps({"training": [], "class_names": ["1", "2"]}), "does not say what it stands for"),
        (json.dumps({"training": [{"image": "a", "label": 2}], "class_names": ["a", "b"]}), "label 2 is not an index"),
        (json.dumps({"test": [{"image": "a", "label": -1}]}), "label -1 is not an index"),
    ],
)
def test_wrong_datalist_is_refused(tmp_path, content, message):
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(InvalidDatalist, match=message):
        read_datalist(tmp_path / "d.json")


def test_classes_are_the_datalists_or_without_a_file_the_default_ones(tmp_path):
    write_json(tmp_path / "own.json", {"test": [], "class_names": ["b", "a"]})
    write_json(tmp_path / "older.json", {"test": []})
    assert read_class_names(tmp_path / "own.json") == ["b", "a"]
    assert read_class_names(tmp_path / "older.json") == read_class_names(tmp_path / "none") == list(CLASS_NAMES)


def test_datalist_of_other_classes_is_refused_with_both(tmp_path):
    write_json(tmp_path / "own.json", {"test": [], "class_names": ["b", "a"]})
    refuse_other_classes(["b", "a"], tmp_path / "own.json")
    with pytest.raises(OtherClasses, match=r"classes are b, a, those of the weights a, b"):
        refuse_other_classes(["a", "b"], tmp_path / "own.json")
    with pytest.raises(InvalidDatalist, match="no such datalist"):
        refuse_other_classes(CLASS_NAMES, tmp_path / "none.json")


def test_parts_can_be_joined_and_missing_ones_are_named(phantom_datalist, phantom_folder):
    one = load_datalist(phantom_datalist, phantom_folder, "training")
    two = load_datalist(phantom_datalist, phantom_folder, "training+validation")
    assert len(two) > len(one)
    with pytest.raises(InvalidDatalist, match="part 'holdout'"):
        load_datalist(phantom_datalist, phantom_folder, "holdout")


def test_wrong_folder_is_noticed(phantom_datalist, tmp_path):
    with pytest.raises(InvalidDatalist, match="--dataset_dir"):
        load_datalist(phantom_datalist, tmp_path, "training")


def test_changed_and_missing_files_are_named(phantom_datalist, phantom_folder, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(phantom_folder, folder)
    datalist = read_datalist(phantom_datalist)
    assert check_hashes(datalist, folder) == []
    first, second = (item["image"] for item in datalist["test"][:2])
    (folder / first).unlink()
    (folder / second).write_bytes(b"changed")
    assert check_hashes(datalist, folder) == [
        f"{first}: missing",
        f"{second}: content differs from when the split was made",
    ]


def test_class_weights_balance_the_classes():
    items = [{"label": 0}] * 6 + [{"label": 1}] * 2 + [{"label": 2}] * 3 + [{"label": 3}]
    weights = class_weights(items)
    assert [w * n for w, n in zip(weights, (6, 2, 3, 1), strict=True)] == pytest.approx([3.0] * len(CLASS_NAMES))
    with pytest.raises(InvalidDatalist, match="pituitary"):
        class_weights(items[:-1])
