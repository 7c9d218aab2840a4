import json

import pytest
from typer.testing import CliRunner

from monai_brain.cli import app
from monai_brain.data.folds import InvalidFolds, add_items, fold_datalist, read_folds, with_stacks
from monai_brain.data.splits import OtherClasses
from monai_brain.io.write import sha256_of


def write(path, items, **more):
    path.write_text(json.dumps({"name": "toy", "items": items, **more}))
    return path


def item(number, fold, **more):
    return {"image": f"{number}.png", "label": number % 4, "group": f"p{number}", "fold": fold, **more}


@pytest.fixture
def folds(tmp_path):
    items = [item(number, number % 5 + 1, source="a") for number in range(20)]
    copy = item(20, 1, copy_of="0.png", source="a") | {"group": "p0"}
    return write(tmp_path / "folds.json", [*items, copy])


@pytest.mark.parametrize(("test", "validation"), [(1, 2), (4, 5), (5, 1)])
def test_one_fold_is_tested_the_next_validates_and_the_others_train(folds, test, validation):
    datalist = fold_datalist(read_folds(folds), test)
    parts = {part: {own["fold"] for own in datalist[part]} for part in ("training", "validation", "test")}
    assert (parts["test"], parts["validation"]) == ({test}, {validation})
    assert parts["training"] == {1, 2, 3, 4, 5} - {test, validation}


def test_every_distinct_slice_is_tested_once(folds):
    content = read_folds(folds)
    tested = [own["image"] for test in range(1, 6) for own in fold_datalist(content, test)["test"]]
    assert sorted(tested) == sorted(f"{number}.png" for number in range(20))
    assert all(own["source"] == "a" for own in fold_datalist(content, 1)["test"])


def test_group_in_two_folds_is_refused(tmp_path):
    divided = write(tmp_path / "folds.json", [item(0, 1), item(1, 2) | {"group": "p0"}])
    with pytest.raises(InvalidFolds, match="p0 is in folds 1 and 2"):
        read_folds(divided)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("nonsense", "not JSON"), ("{}", "expected a list"), ('{"items": [{"image": "a"}]}', "each with image, label")],
)
def test_other_files_are_refused(tmp_path, content, reason):
    (tmp_path / "folds.json").write_text(content)
    with pytest.raises(InvalidFolds, match=reason):
        read_folds(tmp_path / "folds.json")


def test_unknown_fold_is_refused(folds):
    with pytest.raises(InvalidFolds, match="fold 6"):
        fold_datalist(read_folds(folds), 6)


def test_index_takes_one_fold_after_checking_the_files(phantom_folder, tmp_path):
    images = sorted(path.relative_to(phantom_folder).as_posix() for path in phantom_folder.rglob("*.png"))
    items = [
        {
            "image": image,
            "label": place % 4,
            "group": image,
            "fold": place % 5 + 1,
            "sha256": sha256_of(phantom_folder / image),
        }
        for place, image in enumerate(images)
    ]
    folds = write(tmp_path / "folds.json", items)
    words = ["index", str(phantom_folder), "-o", str(tmp_path / "list.json"), "--split", str(folds), "--fold", "2"]
    assert CliRunner().invoke(app, words).exit_code == 0
    datalist = json.loads((tmp_path / "list.json").read_text())
    assert {own["fold"] for own in datalist["test"]} == {2}
    (tmp_path / "list.json").unlink()
    items[0]["sha256"] = "0" * 64
    write(folds, items)
    assert CliRunner().invoke(app, words).exit_code == 3
    assert not (tmp_path / "list.json").exists()


def test_leaky_split_is_called_leaky(phantom_folder, phantom_datalist, tmp_path):
    content = json.loads(phantom_datalist.read_text()) | {"name": "classification_v1"}
    (tmp_path / "v1.json").write_text(json.dumps(content))
    words = ["index", str(phantom_folder), "-o", str(tmp_path / "list.json"), "--split", str(tmp_path / "v1.json")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert "classification_v1 is leaky" in result.stderr


def test_neighbors_of_the_cheng_set_are_one_stack():
    slices = [(1, 1, 0), (2, 1, 0), (4, 1, 0), (5, 2, 0), (6, 2, 1), (20, 2, 1), (21, 2, 1)]
    items = [{"cheng_index": index, "fold": fold, "label": label, "group": "x"} for index, fold, label in slices]
    other = {"fold": 1, "label": 2, "group": "y"}
    first, *stacks = [own["group"] for own in with_stacks([other, *items])]
    assert first == "y"
    assert stacks == [f"cheng-stack-{start}" for start in (1, 1, 1, 5, 6, 20, 20)]


def test_items_of_another_set_train_and_validate_but_are_not_tested(folds):
    datalist = fold_datalist(read_folds(folds), 1)
    before = {part: len(datalist[part]) for part in ("training", "validation", "test")}
    add_items(datalist, read_folds(folds), 1, "../heads")
    assert {part: len(datalist[part]) for part in before} == {**{p: 2 * n for p, n in before.items()}, "test": 4}
    assert datalist["training"][-1]["image"].startswith("../heads/")
    assert datalist["name"] == "toy_fold_1_with_toy"


def test_all_folds_train_and_validate_for_weights_to_hand_out(folds):
    datalist = fold_datalist(read_folds(folds), None)
    parts = {part: {own["fold"] for own in datalist[part]} for part in ("training", "validation", "test")}
    assert parts == {"training": {2, 3, 4, 5}, "validation": {1}, "test": set()}
    assert datalist["name"] == "toy_all_folds"


def test_folds_of_own_classes_hand_them_on_and_mix_with_no_others(folds, tmp_path):
    own = write(tmp_path / "own.json", [item(number, number % 3 + 1, label=number % 2) for number in range(6)])
    content = read_folds(own) | {"class_names": ["tumor", "no tumor"]}
    datalist = fold_datalist(content, 1)
    assert datalist["class_names"] == ["tumor", "no tumor"]
    with pytest.raises(OtherClasses, match=r"glioma.*those of the first set tumor, no tumor"):
        add_items(datalist, read_folds(folds), 1, "../heads")


def test_folds_whose_labels_say_nothing_are_refused(folds):
    write(folds, read_folds(folds)["items"], class_names=["1", "2", "3"])
    with pytest.raises(InvalidFolds, match="'1' does not say what it stands for"):
        read_folds(folds)
